"""A tracker derived directly from `Tracker`: training, tracking, plug-ins and checkpoints."""

import inspect

import lightning
import pytest
import torch

from _helpers.trackers import grid_tracker
from _helpers.trackers.grid_tracker import GridTracker
from mot_core.callbacks import EmbeddingSimilarity, MemoryEstimate
from mot_core.data import SyntheticDataModule
from mot_core.trackers import OptimizerSettings, Tracker
from unitrack_loss import UniTrackPlugin
from unitrack_loss.lightning import UniTrackCallback


def data():
    return SyntheticDataModule(
        num_videos=4, num_val_videos=1, num_frames=8, image_size=(96, 160), num_objects=(2, 3), clip_length=2,
        stride=2, batch_size=4,
    )  # fmt: skip


def fit(folder, *callbacks, epochs=1):
    torch.manual_seed(0)
    tracker = GridTracker(OptimizerSettings(lr=1e-2))
    trainer = lightning.Trainer(
        max_epochs=epochs, check_val_every_n_epoch=epochs, num_sanity_val_steps=0,
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(tracker, data())
    return tracker, trainer


def test_number_of_lines():
    lines = inspect.getsource(grid_tracker).splitlines()
    assert len(lines) < 80


@pytest.mark.slow
def test_training_tracking_and_reloading(tmp_path):
    tracker, trainer = fit(tmp_path, MemoryEstimate(), EmbeddingSimilarity(min_score=0.0), epochs=40)
    assert trainer.callback_metrics["val/IDF1"] > 0.6
    assert -1 <= trainer.callback_metrics["val/similarity_mean"] <= 1
    trainer.save_checkpoint(tmp_path / "grid.ckpt")
    again = Tracker.from_checkpoint(tmp_path / "grid.ckpt", threshold=0.4)
    assert (type(again), again.threshold) == (GridTracker, 0.4)
    (batch, *_) = data_batches = list(trainer.datamodule.val_dataloader())
    assert len(data_batches) == 8
    torch.testing.assert_close(
        GridTracker.from_checkpoint(tmp_path / "grid.ckpt").track(batch).boxes_xyxy,
        tracker.eval().track(batch).boxes_xyxy,
    )


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_plugin_weight(tmp_path, weight):
    callback = UniTrackCallback(weight=weight, warmup_steps=0)
    with_plugin, trainer = fit(tmp_path, callback)
    assert isinstance(with_plugin.plugins["unitrack"], UniTrackPlugin)
    assert "train/unitrack/loss" in trainer.callback_metrics
    without, _ = fit(tmp_path)
    same = [torch.equal(one, other) for one, other in zip(with_plugin.parameters(), without.parameters(), strict=True)]
    assert all(same) == (weight == 0)


def test_missing_capability_is_rejected(tmp_path):
    class NeedsDecoderLayers(UniTrackPlugin):
        requires = ("decoder_layer",)

    tracker = GridTracker()
    tracker.attach(NeedsDecoderLayers())
    with pytest.raises(ValueError, match=r"decoder_layer.*'GridTracker'"):
        tracker.setup()
