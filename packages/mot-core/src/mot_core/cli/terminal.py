"""Terminal output: console, tables and progress: a bar, or lines if the output is not a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

REDRAW = 0.1
"""Seconds between two updates; an update per frame would cost as much as tracking the frame."""
LINE_EVERY = 30.0
"""Seconds between two lines, where there is no bar."""


def open_console(*, stderr: bool = False) -> Console:
    """Open a console that prints text literally, without interpreting [brackets] and :colons: as markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_note(text: str | None) -> None:
    """Print a sentence that the user should read to stderr; None prints nothing."""
    if text:
        print(f"mot: note: {text}", file=sys.stderr)


def print_table(
    title: str,
    columns: list[str],
    rows: list[list[str]],
    console: Console,
    breaks: str | None = None,
    left: int = 1,
) -> None:
    """Print a table with its first ``left`` columns left-aligned and the others right-aligned.

    In a file or a pipe the table takes its full width; in a narrow terminal the column ``breaks`` is wrapped.
    """
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=column != breaks)
    for row in rows:
        table.add_row(*row)
    if not console.is_terminal:
        wide = console.options.update(width=10_000)
        console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)


class Progress:
    """Progress bar over frames with the remaining time.

    If stderr is not a terminal but a file or a pipe, it gets a line with the current work every 30 seconds instead, and
    none if all is done before.

    Args:
        total: Total number of frames; 0 if unknown.
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
        self._task = self._bar.add_task("", total=total or None)
        self._waiting = 0
        self._drawn = 0.0
        self._total = total
        self._text = ""
        self._done = 0
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def describe(self, text: str) -> None:
        """Set the description of the current work."""
        self._text = text
        self._bar.update(self._task, description=text)

    def advance(self) -> None:
        """Count one finished frame."""
        self._waiting += 1
        self._done += 1
        now = time.monotonic()
        if now - self._printed >= LINE_EVERY:
            self._printed = now
            self._line(now - self._started)
        if now - self._drawn >= REDRAW:
            self._bar.advance(self._task, self._waiting)
            self._waiting, self._drawn = 0, now

    def _line(self, seconds: float) -> None:
        """Print a line about the current work, unless there is a bar."""
        if self._bar.disable:
            total = f" of {self._total}" if self._total else ""
            print(f"mot: {self._text}: frame {self._done}{total}, {seconds:.0f} s", file=sys.stderr, flush=True)
