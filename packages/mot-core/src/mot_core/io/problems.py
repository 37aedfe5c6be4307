"""What can be wrong with a file, as data: readers raise the first problem, ``check`` lists them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file or folder.

    Attributes:
        severity: ``"error"`` (the data cannot be used as it is) or ``"warning"`` (it can, but look at it).
        file: the file or folder.
        line: line in the file, from 1; None where the problem is not one of a line.
        message: what was expected and what is there.
        remedy: what to do about it.
        kind: short name shared by all problems of the same sort, to count them.

    >>> print(Problem("error", Path("gt.txt"), 3, "width must not be negative, got -5", "correct the row", "size"))
    gt.txt:3: width must not be negative, got -5; correct the row
    """

    severity: Literal["error", "warning"]
    file: Path
    line: int | None
    message: str
    remedy: str
    kind: str

    def __str__(self) -> str:
        place = f"{self.file}" if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}; {self.remedy}"


def raise_first(problems: Sequence[Problem]) -> None:
    """Raise ``ValueError`` with the first problem (by line) if there is one."""
    if not problems:
        return
    first = min(problems, key=lambda problem: problem.line or 0)
    more = len(problems) - 1
    raise ValueError(f"{first}" + (f" ({more} more of its lines are wrong)" if more else ""))
