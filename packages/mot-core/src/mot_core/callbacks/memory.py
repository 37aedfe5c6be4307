"""Memory estimate of training, printed before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.table import Table

from mot_core.structures import ClipBatch
from mot_core.trackers import Tracker
from mot_core.trackers.memory import StepMemory, estimate_memory


class MemoryEstimate(Callback):
    """Print the memory that a training step needs before the first step, and warn if the device has less.

    The estimate uses the shapes of the first batch. It needs no memory and takes one or two seconds.

    >>> MemoryEstimate().state_dict()
    {}
    """

    def __init__(self) -> None:
        self._shown = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Print the estimate once, in the main process."""
        if self._shown or not trainer.is_global_zero:
            return
        self._shown = True
        if not isinstance(pl_module, Tracker) or not isinstance(batch, ClipBatch):
            raise TypeError(
                f"MemoryEstimate: expected a mot_core tracker and a ClipBatch, got {type(pl_module).__name__} "
                f"and {type(batch).__name__}; remove the callback"
            )
        height, width = batch.images.shape[-2:]
        mixed = str(trainer.precision).endswith("mixed")
        estimate = estimate_memory(pl_module, (height, width), batch.num_frames, len(batch), mixed=mixed)
        available = available_memory(pl_module.device)
        title = f"memory of a training step: {len(batch)} x {batch.num_frames} frames of {height} x {width}"
        Console(markup=False, emoji=False, highlight=False).print(_table(title, estimate, available))
        if available is not None and estimate.total > available:
            rank_zero_warn(advice_message(estimate, available, pl_module))


def available_memory(device: torch.device | str) -> int | None:
    """Return the memory in bytes available to this process, including what it already uses; None if unknown.

    >>> available_memory("meta") is None
    True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.is_file():
        return None
    lines = dict(line.split(":", 1) for line in table.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def advice_message(estimate: StepMemory, available: int, tracker: Tracker) -> str:
    """Return the warning for insufficient memory, with advice on how to reduce it."""
    advice = [*tracker.memory_advice, *(["shorter clips"] if estimate.frames > 1 else []), "smaller images"]
    return (
        f"a training step needs at least {_size(estimate.total)} of memory, but {_size(available)} are available; "
        f"use {', '.join(advice[:-1])}{' or ' if advice[:-1] else ''}{advice[-1]}"
    )


def _table(title: str, estimate: StepMemory, available: int | None) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("part")
    table.add_column("bytes", justify="right", no_wrap=True)
    rows = {
        "parameters": estimate.parameters,
        "gradients": estimate.gradients,
        "optimizer states": estimate.optimizer,
        "images": estimate.images,
    }
    if estimate.frame:
        rows[f"detector, {estimate.frames_kept} of {estimate.frames} frames for backward"] = estimate.activations
        rows["  one frame of each clip"] = estimate.frame
    for name, size in rows.items():
        table.add_row(name, _size(size))
    table.add_section()
    table.add_row("at least", _size(estimate.total), style="bold")
    if available is not None:
        table.add_row("available", _size(available))
    return table


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
