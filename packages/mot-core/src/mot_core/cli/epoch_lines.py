"""What a log file shows of a training: a line per epoch instead of a bar that moves."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mot_core._extras import needs

with needs("lightning", "train", "training"):
    from lightning import Callback, LightningModule, Trainer


SHOWN = ("train/loss", "val/HOTA", "val/IDF1", "val/MOTA")


class EpochLines(Callback):
    """Prints folder, epoch, loss and scores to stderr.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where it is written."""
        self._start = time.monotonic()
        self._print(trainer, f"training in {self.folder}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how far it is."""
        names = dict.fromkeys([*SHOWN, *trainer.progress_bar_metrics])
        numbers = [
            f"{name} {float(trainer.callback_metrics[name]):.4g}" for name in names if name in trainer.callback_metrics
        ]
        seconds = time.monotonic() - self._start
        self._print(
            trainer, f"epoch {trainer.current_epoch}, step {trainer.global_step}, {seconds:.0f} s: {', '.join(numbers)}"
        )

    def _print(self, trainer: Trainer, text: str) -> None:
        if trainer.is_global_zero:
            print(f"mot: {text}", file=sys.stderr, flush=True)
