"""Fixtures: a small tracker with perfect results, data and a Trainer."""

from pathlib import Path

import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy

# Lightning is imported in the fixtures, so that tests without it are collected and skipped.


@pytest.fixture(scope="session")
def make_tracker():
    """Build a tracker with perfect results, which scores 100."""
    from _helpers.trackers.oracle_tracker import OracleTracker

    def make(**kwargs):
        torch.manual_seed(0)
        return OracleTracker(**kwargs)

    return make


@pytest.fixture(scope="session")
def make_data():
    """Build data: one video for training, and two of four frames for validation and testing."""
    from mot_core.data import SyntheticDataModule

    def make(**kwargs):
        settings = {"num_videos": 1, "num_val_videos": 2, "num_frames": 4, "clip_length": 2, "batch_size": 2}
        return SyntheticDataModule(**{**settings, "image_size": (48, 80), "stride": 2, **kwargs})

    return make


@pytest.fixture(scope="session")
def true_boxes():
    """Return the ground-truth boxes of a batch in pixels."""

    def boxes(batch):
        height, width = batch.original_size[0].tolist()
        truth = batch.targets[0]
        return cxcywh_to_xyxy(truth.boxes_cxcywh[0][truth.valid[0]]) * torch.tensor([width, height, width, height])

    return boxes


@pytest.fixture(scope="session")
def make_trainer():
    """Build a silent Trainer on the CPU."""
    from lightning import Trainer

    def make(folder: Path, callbacks, **kwargs):
        settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return Trainer(
            **{**settings, "accelerator": "cpu", "enable_model_summary": False, **kwargs},
            default_root_dir=folder,
            callbacks=callbacks,
        )

    return make
