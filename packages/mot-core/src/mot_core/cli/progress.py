"""A progress bar on stderr that keeps quiet where nobody watches."""

from __future__ import annotations

from types import TracebackType
from typing import Any

REDRAW = 25
"""Frames between two updates: telling rich about every frame would cost as much as tracking it."""


class Progress:
    """Counts frames; on a terminal as a bar with the time that is left, otherwise in silence.

    Args:
        total: number of frames to come.
    """

    def __init__(self, total: int) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        columns: list[Any] = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        ]
        self._bar = progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total)
        self._waiting = 0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def describe(self, text: str) -> None:
        """Say what is being done."""
        self._bar.update(self._task, description=text)

    def advance(self) -> None:
        """One frame is done."""
        self._waiting += 1
        if self._waiting == REDRAW:
            self._bar.advance(self._task, REDRAW)
            self._waiting = 0
