"""The callbacks of `mot fit` around checkpoints."""

import lightning
import pytest
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from _helpers.trackers.toy_tracker import make_toy, synthetic, trainer
from mot_core.cli.fit.callbacks import EpochLines, LastCheckpoint


class DiskFull(TorchCheckpointIO):
    """Save the first checkpoint; fail in the middle of the second one, as a full disk or a killed process does."""

    saved = 0

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        self.saved += 1
        if self.saved == 2:
            with open(path, "wb") as file:
                file.write(b"half of it")
            raise OSError(28, "No space left on device")
        super().save_checkpoint(checkpoint, path, storage_options)


def test_previous_checkpoint_survives_a_failed_save(tmp_path):
    path = tmp_path / "run" / "last.ckpt"
    run = trainer(
        tmp_path, max_epochs=2, callbacks=[LastCheckpoint(path)], enable_checkpointing=True, plugins=[DiskFull()]
    )
    with pytest.raises(OSError, match="No space left"):
        run.fit(make_toy(), synthetic())
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"], "no temporary file is left"
    content = torch.load(path, weights_only=True)
    assert content["epoch"] == 0
    again = trainer(tmp_path, max_epochs=2)
    again.fit(make_toy(), synthetic(), ckpt_path=path, weights_only=True)
    assert again.global_step == 8


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
