"""A tracker of a few slots that takes images, its checkpoints and results, for tests of `mot track`."""

from __future__ import annotations

import numpy as np
import torch
from lightning import Trainer

from _helpers.trackers.toy_tracker import SMALL
from mot_core.data import Augmentation, MOTDataModule
from mot_core.io import read_mot
from mot_core.nn import SetCriterion
from mot_core.structures import ClipOutput
from mot_core.trackers import DetectorSettings, DETRTracker, FrameTracks, frame_output

RESIZE = Augmentation(short_sides=(40,), max_long_side=50)


class Toy(DETRTracker):
    """Tracker that reports a few slots, with new identities every three frames.

    Args:
        width: Number of slots, treated as part of the network.
        shift: Offset added to the scores.
    """

    tracking_parameters = ("shift",)

    def __init__(self, detector: DetectorSettings | None = None, *, width: int = 3, shift: float = 0.0) -> None:
        if not 0 <= shift <= 1:
            raise ValueError(f"shift must be from 0 to 1, got {shift}")
        super().__init__(detector or SMALL)
        self.width, self.shift, self.seen = width, shift, 0
        self.criterion = SetCriterion()

    def clip_losses(self, batch, ctx):
        output, _ = self.detect(batch.images[:, 0], batch.padding, ctx.at(0, batch.targets[0]))
        losses, _ = self.criterion(output, batch.targets[0])
        return losses, ClipOutput([frame_output(output, batch, 0)], batch.targets[:1])

    def track_frame(self, batch, ctx):
        output, _ = self.detect(batch.images[:, 0], batch.padding, ctx)
        ids = torch.arange(self.width, device=self.device) + self.width * (self.seen // 3)
        self.seen += 1
        scores, labels = output.logits[-1, 0, : self.width].sigmoid().max(-1)
        return FrameTracks(ids, output.boxes_cxcywh[-1, 0, : self.width], scores + self.shift, labels)

    def reset(self):
        self.seen = 0


def save(path, tracker, resize, data):
    """Save a checkpoint of a tracker after one training step."""
    trainer = Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=path.parent,
    )  # fmt: skip
    trainer.fit(tracker, MOTDataModule(train=data, benchmark="generic", resize=resize))
    trainer.save_checkpoint(path)
    return path


def table(path):
    results = read_mot(path, kind="results")
    return np.column_stack([results.frames, results.ids, results.boxes_xyxy, results.scores])


def predicted(checkpoint, folder, resize=RESIZE):
    """Result rows of Trainer.predict by sequence."""
    data = MOTDataModule(predict=folder, benchmark="generic", resize=resize)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    rows = {}
    tracks = trainer.predict(Toy.from_checkpoint(checkpoint), data)
    for batch, one in zip(data.predict_dataloader(), tracks, strict=True):
        number = batch.times.item()
        columns = np.column_stack([one.ids, one.boxes_xyxy, one.scores])
        rows.setdefault(batch.sequences[0], []).extend([number, *row] for row in columns)
    return {name: np.array(values) for name, values in rows.items()}
