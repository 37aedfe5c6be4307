"""Problems of files as data: readers raise the first one, ``check`` lists them all."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """A problem of a file or folder.

    Attributes:
        severity: "error" (the data cannot be used) or "warning" (it can be used but should be reviewed).
        file: Path of the file or folder.
        line: Line in the file, counted from 1; None if the problem does not concern a single line.
        message: Expected and actual content.
        remedy: Suggested fix.
        kind: Short name shared by all problems of the same kind, used to count them.

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


class DataError(ValueError):
    """A file cannot be used; ``problem`` states the reason, ``more`` counts the other faulty lines."""

    def __init__(self, problem: Problem, more: int = 0) -> None:
        super().__init__(f"{problem} (and {more} more)" if more else f"{problem}")
        self.problem = problem
        self.more = more

    def __reduce__(self) -> tuple[type[DataError], tuple[Problem, int]]:
        return type(self), (self.problem, self.more)


def error(file: Path, message: str, remedy: str, kind: str, line: int | None = None) -> DataError:
    """Create the exception for a problem that prevents reading a file."""
    return DataError(Problem("error", file, line, message, remedy, kind))


def raise_first(problems: Sequence[Problem]) -> None:
    """Raise ``DataError`` with the first problem (by line), if any."""
    if problems:
        raise DataError(min(problems, key=lambda problem: problem.line or 0), len(problems) - 1)


def require_file(path: Path, what: str) -> None:
    """Raise an exception unless ``path`` is a regular file: reading a pipe would wait forever.

    Raises:
        FileNotFoundError: If nothing exists there.
        ValueError: If it is a folder, a pipe, a device, a link that leads nowhere, or not readable.

    >>> require_file(Path("no/such/gt.txt"), "ground-truth")
    Traceback (most recent call last):
    FileNotFoundError: there is no ground-truth file no/such/gt.txt; check the path
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            raise FileNotFoundError(f"there is no {what} file {path}; check the path") from None
        found = "a link to a missing file"
    except OSError as reason:
        found = f"something else ({reason.strerror})"
    else:
        if stat.S_ISREG(mode) and os.access(path, os.R_OK):
            return
        kinds = {stat.S_IFREG: "one without permission to read it", stat.S_IFDIR: "a folder"}
        found = kinds.get(stat.S_IFMT(mode), "a pipe or device")
    raise error(path, f"expected a {what} file, got {found}", "replace it by a regular file", "file")
