"""What a terminal shows: tables, lines and a progress bar that keeps quiet where nobody watches."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

REDRAW = 0.1
"""Seconds between two updates: telling rich about every frame would cost as much as tracking it."""


def open_console(*, stderr: bool = False) -> Console:
    """A console that prints names and messages as they are; rich would read [brackets] and :colons: as orders."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_table(
    title: str, columns: list[str], rows: list[list[str]], console: Console, breaks: str | None = None
) -> None:
    """Print ``rows`` of cells, the first column to the left and the others, mostly numbers, to the right.

    In a file or a pipe the table is as wide as it needs to be; in a narrow terminal the column ``breaks`` gives way.
    """
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right", no_wrap=column != breaks)
    for row in rows:
        table.add_row(*row)
    if not console.is_terminal:
        wide = console.options.update(width=10_000)
        console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)


class Progress:
    """Counts frames; on a terminal as a bar with the time that is left, otherwise in silence.

    Args:
        total: number of frames to come.
    """

    def __init__(self, total: int) -> None:
        from rich import progress

        console = open_console(stderr=True)
        columns: list[Any] = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        ]
        self._bar = progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total)
        self._waiting = 0
        self._drawn = 0.0

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
        now = time.monotonic()
        if now - self._drawn >= REDRAW:
            self._bar.advance(self._task, self._waiting)
            self._waiting, self._drawn = 0, now
