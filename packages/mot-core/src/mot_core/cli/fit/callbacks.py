"""Lightning callbacks of `mot fit`: initial files, last checkpoint, interruption, notes and a line per epoch."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from mot_core.cli.terminal import open_console, print_note, print_table
from mot_core.data import ClipDataModule
from mot_core.extras import needs
from mot_core.io import open_atomic
from mot_core.trackers import Tracker

with needs("lightning", "train", "training"):
    from lightning import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import Checkpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOWN = ("train/loss", "val/HOTA", "val/IDF1", "val/MOTA")


class WriteFirst(Callback):
    """Write text files at the start of a run, after all checks have passed.

    Args:
        texts: File contents by path.
    """

    def __init__(self, texts: Mapping[Path, str]) -> None:
        self.texts = texts

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the files in the main process."""
        if trainer.is_global_zero:
            for path, text in self.texts.items():
                with open_atomic(path) as file:
                    file.write(text)


class LastCheckpoint(Checkpoint):
    """Write one checkpoint after every epoch.

    Lightning's ModelCheckpoint writes ``last.ckpt`` only in addition to another file.

    Args:
        path: Checkpoint file, overwritten after every epoch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint, after the other callbacks have handled the end of the epoch."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.path, weights_only=False)
            self._written = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint if training was resumed after its last step, when no epoch ends."""
        if not self._written:
            self.on_train_epoch_end(trainer, pl_module)


class Interruption(Callback):
    """Stop training at the end of a step after SIGINT or SIGTERM; a second signal stops immediately.

    Args:
        checkpoint: Checkpoint file written before stopping.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self._requested = False
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers, replacing those of Lightning, which do not finish the step."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._request) for number in SIGNALS}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the previous signal handlers."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the previous signal handlers."""
        self._restore()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop if a signal was received."""
        self._stop_if_requested(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop if a signal was received, because a validation can take long."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._stop_if_requested(trainer)

    def _stop_if_requested(self, trainer: Trainer) -> None:
        requested = self._requested
        if trainer.world_size > 1:  # the signal may have reached a single process, but all must stop at the same step
            requested = trainer.strategy.reduce_boolean_decision(requested, all=False)
        if requested:
            if trainer.checkpoint_callback is not None:
                trainer.save_checkpoint(self.checkpoint, weights_only=False)
                raise KeyboardInterrupt(f"{self.checkpoint} is saved; rerun with --ckpt_path last to resume")
            raise KeyboardInterrupt

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
        print("mot: stopping after this step; interrupt again to stop immediately", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


class ModelTable(Callback):
    """Print the modules of a model with their parameters, if stderr is a terminal.

    Lightning's summary counts operations on an example input, which trackers do not have.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print the table in the main process, before weights are distributed."""
        console = open_console(stderr=True)
        if console.is_terminal and trainer.is_global_zero:
            rows = [
                [name, type(module).__name__, *_parameter_counts(module)] for name, module in pl_module.named_children()
            ]
            rows.append(["all", type(pl_module).__name__, *_parameter_counts(pl_module)])
            print_table("model", ["name", "class", "parameters", "trained"], rows, console, left=2)


def _parameter_counts(module: torch.nn.Module) -> tuple[str, str]:
    """Return the numbers of all parameters and of those that are trained."""
    counts = [(one.numel(), one.requires_grad) for one in module.parameters()]
    return f"{sum(number for number, _ in counts):,}", f"{sum(number for number, trained in counts if trained):,}"


class Notes(Callback):
    """Print to stderr how the data are read, and the reason for a HOTA of 0."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print the notes of the data module, after it has read the data."""
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, ClipDataModule) and trainer.is_global_zero:
            for note in data.notes():
                print_note(note)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the score of a validation, unless it is the check before training."""
        if not trainer.sanity_checking:
            self._explain(trainer, pl_module, "val/HOTA")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the score of a test."""
        self._explain(trainer, pl_module, "test/HOTA")

    def _explain(self, trainer: Trainer, tracker: LightningModule, name: str) -> None:
        if isinstance(tracker, Tracker) and trainer.is_global_zero and trainer.callback_metrics.get(name) == 0:
            print(f"mot: {name} is 0: {tracker.explain_zero()}", file=sys.stderr, flush=True)


class EpochLines(Callback):
    """Print folder, epoch, loss and scores to stderr.

    Args:
        folder: Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start = 0.0
        self._validated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the folder of the run."""
        self._start = time.monotonic()
        self._print(trainer, f"training in {self.folder}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has scores."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print epoch, step, elapsed seconds, loss and scores."""
        names = dict.fromkeys([*SHOWN, *trainer.progress_bar_metrics])
        numbers = [
            f"{name} {float(trainer.callback_metrics[name]):.4g}"
            for name in names
            # Lightning keeps the scores of the last validation, which are not those of this epoch.
            if name in trainer.callback_metrics and (self._validated or not name.startswith("val/"))
        ]
        self._validated = False
        seconds = time.monotonic() - self._start
        self._print(
            trainer, f"epoch {trainer.current_epoch}, step {trainer.global_step}, {seconds:.0f} s: {', '.join(numbers)}"
        )

    def _print(self, trainer: Trainer, text: str) -> None:
        if trainer.is_global_zero:
            print(f"mot: {text}", file=sys.stderr, flush=True)
