"""Ctrl-C and SIGTERM in a training: it finishes the step and writes a checkpoint, from which it can go on exactly."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from mot_core._extras import needs

with needs("lightning", "train", "training"):
    from lightning import Callback, LightningModule, Trainer


SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
