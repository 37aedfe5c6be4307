"""Lightning callbacks of `mot fit`: files at the start, the last checkpoint, interruption and a line per epoch."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from mot_core.extras import needs
from mot_core.io import open_atomic

with needs("lightning", "train", "training"):
    from lightning import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import Checkpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOWN = ("train/loss", "val/HOTA", "val/IDF1", "val/MOTA")


class WriteFirst(Callback):
    """Writes files when all is checked and the run begins.

    Args:
        texts: what to write, by path.
    """

    def __init__(self, texts: Mapping[Path, str]) -> None:
        self.texts = texts

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write them, in one process."""
        if trainer.is_global_zero:
            for path, text in self.texts.items():
                with open_atomic(path) as file:
                    file.write(text)


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


class Interruption(Callback):
    """Ends a training at the end of a step when a signal came; a second signal ends it at once.

    Args:
        checkpoint: file to write then.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self._asked = False
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to the signals, instead of Lightning, which does not finish the step."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._ask) for number in SIGNALS}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen no more."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Listen no more."""
        self._restore()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop, if asked to."""
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop, if asked to: a validation may take long."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: Trainer) -> None:
        asked = self._asked
        if trainer.world_size > 1:  # the signal may have reached one process only, but all must stop at the same step
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            if trainer.checkpoint_callback is not None:
                trainer.save_checkpoint(self.checkpoint, weights_only=False)
                raise KeyboardInterrupt(f"{self.checkpoint} is saved: the same command with --ckpt_path last goes on")
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("mot: finishing the step, then stopping; once more stops at once", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


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
