"""The checkpoint of the last epoch, in one file."""

from __future__ import annotations

from pathlib import Path

from mot_core._extras import needs

with needs("lightning", "train", "training"):
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Writes one file after every epoch; Lightning's ModelCheckpoint writes its ``last.ckpt`` only beside another file.

    Args:
        path: file to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, after all that others do at the end of an epoch."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path, weights_only=False)
            self._written = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, where a training was resumed after its last step: there is no epoch to end then."""
        if not self._written:
            self.on_train_epoch_end(trainer, pl_module)
