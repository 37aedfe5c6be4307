"""Minimal subclass of the tracker base class: a detector, with the slot index as identity."""

import lightning
import torch

from mot_core.data import SyntheticDataModule
from mot_core.nn import SetCriterion
from mot_core.structures import ClipOutput
from mot_core.trackers import DetectorSettings, DETRTracker, FrameTracks, frame_output

SMALL = DetectorSettings(
    "small", num_queries=8, embed_dim=32, num_heads=4, ffn_dim=32, num_levels=3, num_encoder_layers=1,
    num_decoder_layers=2,
)  # fmt: skip


class ToyTracker(DETRTracker):
    """Tracker that reports its first ``width`` slots in every frame."""

    capabilities = frozenset({"features", "decoder_layer", "embeddings", "live_boxes", "ids", "box_head"})

    def __init__(self, detector=None, optimizer=None, width: int = 3, *, spread: tuple[float, ...] = (), **base):
        super().__init__(detector or SMALL, optimizer, **base)
        self.width = width
        self.spread = spread
        self.criterion = SetCriterion()
        self.resets = 0

    def clip_losses(self, batch, ctx):
        frames, losses = [], {}
        for t, targets in enumerate(batch.targets):
            output, _ = self.detect(batch.images[:, t], batch.padding, ctx.at(t, targets))
            own, gt_index = self.criterion(output, targets)
            losses.update({f"frame_{t}_{name}": loss for name, loss in own.items()})
            frames.append(frame_output(output, batch, t, gt_index=gt_index[-1]))
        return losses, ClipOutput(frames, list(batch.targets))

    def track_frame(self, batch, ctx):
        output, _ = self.detect(batch.images[:, 0], batch.padding, ctx)
        rows = slice(self.width)
        ids = torch.arange(self.width)
        boxes, scores = output.boxes_cxcywh[-1, 0, rows], output.logits[-1, 0, rows, 0].sigmoid()
        return FrameTracks(ids, boxes, scores, torch.zeros_like(ids))

    def reset(self):
        self.resets += 1


def make_toy(seed=0, **arguments):
    """Build a toy tracker with random weights of a seed."""
    torch.manual_seed(seed)
    return ToyTracker(**arguments)


def synthetic(**arguments):
    """Return four videos of 8 frames with two clips each, which give 4 batches per epoch."""
    options = {
        "num_videos": 4, "num_val_videos": 1, "num_frames": 8, "image_size": (32, 48), "num_objects": (2, 3),
        "clip_length": 2, "stride": 4, "batch_size": 2,
    }  # fmt: skip
    return SyntheticDataModule(**(options | arguments))


def trainer(path, **options):
    defaults = {
        "max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
        "num_sanity_val_steps": 0, "enable_progress_bar": False, "enable_model_summary": False,
        "default_root_dir": path,
    }  # fmt: skip
    return lightning.Trainer(**(defaults | options))
