"""Conversion of text to a matrix of numbers, with a problem for every line that is not a row of numbers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from mot_core.io.problems import Problem, error, require_file
from mot_core.io.table import Floats, Ints

# Python also accepts 1_000 and digits of other scripts, unlike other readers of these files.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
BLANKS = " \t"
OTHER = re.compile(r"[^0-9+\-.eE, \t]")  # characters that are not in rows of numbers

COLUMN_NAMES = ("frame", "id", "left", "top", "width", "height", "conf", "class", "visibility", "column 10")


def parse_number(text: str) -> float:
    """Return the number written, with an optional exponent.

    Raises:
        ValueError: If the text is anything else, for example ``1_000``, ``0x10`` or ``nan``.

    >>> parse_number("-1.5e2")
    -150.0
    """
    if not NUMBER.fullmatch(text.strip(BLANKS)):
        raise ValueError(f"expected a number, got {text!r}")
    return float(text)


def split_at_blanks(line: str) -> list[str]:
    """Return the fields of a line with spaces or tabs between them; ``str.split`` also splits at Unicode blanks."""
    return [field for field in re.split("[ \t]+", line) if field]


def read_lines(path: Path, what: str) -> tuple[list[str], Ints]:
    r"""Return the non-blank lines of a text file and their numbers, counted from 1.

    Lines end with ``\n``, ``\r\n`` or ``\r``.
    """
    require_file(path, what)
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(
            path, f"expected {what} as text in UTF-8, got other bytes", "save it as UTF-8", "encoding"
        ) from None
    # str.splitlines also splits at form feeds and other characters that no other reader takes for line ends.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbers = [number for number, line in enumerate(lines, 1) if line and not line.isspace()]
    if len(numbers) < len(lines):
        lines = [lines[number - 1] for number in numbers]
    return lines, np.array(numbers, np.int64)


def read_numbers(path: Path, what: str) -> tuple[Floats, Ints, list[Problem]]:
    """Return the valid rows ``(R, C)`` of a file with 6 to 10 columns, their line numbers, and the problems found."""
    lines, numbers = read_lines(path, what)
    if not lines:
        return np.zeros((0, 6)), numbers, []
    if any(map(OTHER.search, lines)):
        return _read_by_line(path, lines, numbers)  # slower, but locates the faulty lines
    separator = "," if "," in lines[0] else None
    try:
        values = np.loadtxt(lines, delimiter=separator, comments=None, ndmin=2)
    except ValueError:
        return _read_by_line(path, lines, numbers)
    if 6 <= values.shape[1] <= 10:
        return values, numbers, []
    return _read_by_line(path, lines, numbers)


def _read_by_line(path: Path, lines: list[str], numbers: Ints) -> tuple[Floats, Ints, list[Problem]]:
    rows = [line.split(",") if "," in line else split_at_blanks(line) for line in lines]
    width = Counter(map(len, rows)).most_common(1)[0][0]
    good, values, problems = [], [], []
    for number, row in zip(numbers.tolist(), rows, strict=True):
        problem = _wrong_width(path, number, row, width) or _wrong_field(path, number, row)
        if problem:
            problems.append(problem)
        else:
            good.append(number)
            values.append([parse_number(field) for field in row])
    return np.array(values, np.float64).reshape(len(good), width if good else 6), np.array(good, np.int64), problems


def _wrong_width(path: Path, line: int, row: list[str], width: int) -> Problem | None:
    if len(row) == width and 6 <= width <= 10:
        return None
    expected = f"{width} columns as in most lines" if 6 <= width <= 10 else "6 to 10 columns (frame, id, left, ...)"
    message = f"expected {expected}, got {len(row)}"
    return Problem("error", path, line, message, "the line may be cut off: complete or remove it", "columns")


def _wrong_field(path: Path, line: int, row: list[str]) -> Problem | None:
    for name, field in zip(COLUMN_NAMES, row, strict=False):
        if not NUMBER.fullmatch(field.strip(BLANKS)):
            message = f"{name} must be a finite number, got {field.strip(BLANKS)!r}"
            return Problem("error", path, line, message, "correct or remove the line", "number")
    return None
