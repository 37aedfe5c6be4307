"""A tracker that finds everything, small enough for many runs, and the data for it."""

from pathlib import Path

import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy
from mot_core.data import SyntheticDataModule
from mot_core.nn import SetCriterion
from mot_core.structures import ClipOutput
from mot_core.trackers import DetectorSettings, Tracker, frame_output

SMALL = DetectorSettings(
    "small", num_queries=8, embed_dim=32, ffn_dim=32, num_levels=3, num_encoder_layers=1, num_decoder_layers=2
)


class OracleTracker(Tracker):
    """Learns with a detector as others do, and tracks the ground truth itself, so that scores are known."""

    def __init__(self, detector: DetectorSettings = SMALL, *, checkpointing: bool = False, seed: int = 0):
        super().__init__(detector, checkpointing=checkpointing, seed=seed)
        self.criterion = SetCriterion()

    def clip_losses(self, batch, ctx):
        frames, losses = [], {}
        for index, targets in enumerate(batch.targets):
            output, _ = self.detect(batch.images[:, index], batch.padding, ctx.at(index, targets))
            own, gt_index = self.criterion(output, targets)
            losses.update({f"{name}_{index}": loss for name, loss in own.items()})
            frames.append(frame_output(output, batch, index, gt_index=gt_index[-1]))
        return losses, ClipOutput(frames, list(batch.targets))

    def track_frame(self, batch, ctx):
        self.detect(batch.images[:, 0], batch.padding, ctx)
        truth = batch.targets[0]
        valid = truth.valid[0]
        boxes = truth.boxes_cxcywh[0][valid]
        return truth.ids[0][valid], boxes, boxes[:, 2], truth.labels[0][valid]

    def forget(self):
        pass

    def import_weights(self, state):
        raise NotImplementedError


@pytest.fixture(scope="session")
def make_tracker():
    """A tracker that finds everything: its scores are 100."""

    def make(**kwargs):
        torch.manual_seed(0)
        return OracleTracker(**kwargs)

    return make


@pytest.fixture(scope="session")
def make_data():
    """Two videos of four frames to validate and test on, one to train on."""

    def make(**kwargs):
        settings = {"num_videos": 1, "num_val_videos": 2, "num_frames": 4, "clip_length": 2, "batch_size": 2}
        return SyntheticDataModule(**{**settings, "image_size": (48, 80), "stride": 2, **kwargs})

    return make


@pytest.fixture(scope="session")
def true_boxes():
    """The boxes of the ground truth of a batch, in pixels."""

    def boxes(batch):
        height, width = batch.original_size[0].tolist()
        truth = batch.targets[0]
        return cxcywh_to_xyxy(truth.boxes_cxcywh[0][truth.valid[0]]) * torch.tensor([width, height, width, height])

    return boxes


@pytest.fixture(scope="session")
def make_trainer():
    """A silent Trainer on the CPU."""
    from lightning import Trainer

    def make(folder: Path, callbacks, **kwargs):
        settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return Trainer(
            **{**settings, "accelerator": "cpu", "enable_model_summary": False, **kwargs},
            default_root_dir=folder,
            callbacks=callbacks,
        )

    return make
