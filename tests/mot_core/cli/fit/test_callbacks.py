"""The callbacks of `mot fit` around checkpoints."""

import io
from dataclasses import replace
from types import SimpleNamespace

import lightning
import pytest
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from rich.console import Console

from _helpers.trackers.toy_tracker import ToyTracker, make_toy, synthetic, trainer
from mot_core.cli.fit import callbacks
from mot_core.cli.fit.callbacks import EpochLines, LastCheckpoint, ModelTable, Notes
from mot_core.cli.fit.checkpoint_io import CheckpointFiles, with_checkpoint_files


def test_previous_checkpoint_survives_a_failed_save(tmp_path, monkeypatch):
    """The second checkpoint fails in the middle, as with a full disk."""
    path, save, saved = tmp_path / "run" / "last.ckpt", torch.save, []

    def disk_full(content, file):
        saved.append(content["epoch"])
        if len(saved) == 2:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        save(content, file)

    monkeypatch.setattr(torch, "save", disk_full)
    options = {"max_epochs": 2, "plugins": [CheckpointFiles(str(path), resume=True)]}
    run = trainer(tmp_path, callbacks=[LastCheckpoint(path)], enable_checkpointing=True, **options)
    with pytest.raises(OSError, match=r"cannot write .*last\.ckpt: No space left .*; the earlier file is unchanged"):
        run.fit(make_toy(), synthetic())
    assert saved == [0, 1]
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"], "no temporary file is left"
    assert torch.load(path, weights_only=True)["epoch"] == 0
    again = trainer(tmp_path, **options)
    again.fit(make_toy(), synthetic(), ckpt_path=path, weights_only=True)
    assert again.global_step == 8


def test_checkpoints_of_a_strategy_need_no_training_state(tmp_path):
    """Strategies such as ddp_spawn return bare weights in a file."""
    files = CheckpointFiles(str(tmp_path / "last.ckpt"), resume=True)
    for name in ("weights.ckpt", "last.ckpt"):
        files.save_checkpoint({"weight": torch.ones(1)}, tmp_path / name)
    assert files.load_checkpoint(tmp_path / "weights.ckpt") == {"weight": 1}
    with pytest.raises(ValueError, match=r"last\.ckpt: expected a checkpoint with state_dict .*got one without"):
        files.load_checkpoint(tmp_path / "last.ckpt")


def test_a_hota_of_0_is_explained(tmp_path, capsys):

    class Blind(ToyTracker):
        """Report boxes of a thousandth of the image, which overlap no object."""

        def track_frame(self, batch, ctx):
            tracks = super().track_frame(batch, ctx)
            return replace(tracks, boxes_cxcywh=torch.full_like(tracks.boxes_cxcywh, 0.001))

    torch.manual_seed(0)
    toy = Blind()
    trainer(tmp_path, callbacks=[Notes()], max_steps=1).validate(toy, synthetic(), verbose=False)
    assert toy.trainer.callback_metrics["val/HOTA"] == 0
    assert (
        "mot: val/HOTA is 0: no reported box overlaps an object; highest score of a detection 0."
        in capsys.readouterr().err
    )
    toy.tracking_parameters, toy.detection_threshold = ("detection_threshold",), 0.999
    assert toy.explain_zero().startswith("no detection above detection_threshold 0.999; highest score 0.")


def test_other_storage_of_checkpoints_is_kept():
    files, other = CheckpointFiles(), TorchCheckpointIO()
    assert with_checkpoint_files(None, files) == [files]
    assert with_checkpoint_files("bf16", files) == ["bf16", files]
    assert with_checkpoint_files([other], files) == [other]


def test_checkpoint_is_written_once_per_epoch(tmp_path):
    steps = []

    class Note(lightning.Callback):
        def on_train_epoch_start(self, trainer, module):
            path = tmp_path / "last.ckpt"
            steps.append(torch.load(path, weights_only=True)["global_step"] if path.exists() else 0)

    callbacks = [LastCheckpoint(tmp_path / "last.ckpt"), Note()]
    trainer(tmp_path, max_epochs=3, callbacks=callbacks, enable_checkpointing=True).fit(make_toy(), synthetic())
    assert steps == [0, 4, 8]


def test_epoch_lines_show_scores_of_their_own_epoch_only(tmp_path, capsys):
    run = trainer(tmp_path, max_epochs=4, check_val_every_n_epoch=2, callbacks=[EpochLines(tmp_path)])
    run.fit(make_toy(), synthetic())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mot: epoch")]
    assert ["val/HOTA" in line for line in lines] == [False, True, False, True]
    assert all("train/loss" in line for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_model_table_in_a_terminal(monkeypatch, terminal):
    """Without operations, which Lightning reports as 0."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100, color_system=None)
    monkeypatch.setattr(callbacks, "open_console", lambda stderr: console)
    tracker = make_toy()
    next(tracker.parameters()).requires_grad_(False)
    ModelTable().setup(SimpleNamespace(is_global_zero=True), tracker, "fit")
    total = sum(one.numel() for one in tracker.parameters())
    trained = total - next(tracker.parameters()).numel()
    lines = [line for line in output.getvalue().splitlines() if "ToyTracker" in line]
    assert [line.split("│")[3:5] for line in lines] == ([[f" {total:>10,} ", f" {trained:>7,} "]] if terminal else [])
    assert "FLOPs" not in output.getvalue()
