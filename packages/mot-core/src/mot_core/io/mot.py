"""MOTChallenge text files: ground truth, detections and results as tables.

A row is ``frame, id, left, top, width, height, conf, class, visibility`` (ground truth) or
``frame, id, left, top, width, height, score, x, y, z`` (detections, results, MOT15 ground truth). Files may have 6 to
10 columns, separated by commas or blanks.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mot_core.io._numbers import COLUMN_NAMES, read_numbers
from mot_core.io.problems import Problem, raise_first
from mot_core.io.table import BoxTable, Floats, Ints

Kind = Literal["ground_truth", "detections", "results"]
KINDS = {"ground_truth": "ground-truth", "detections": "detection", "results": "result"}

EXACT = 2.0**53  # larger integers are not exact in float64
SMALLEST = 1e-3  # pixels; ratios and logarithms of smaller sizes overflow in trackers
FARTHEST = 1e9  # pixels; areas of larger boxes lose digits or overflow


def read_mot(path: str | PathLike[str], *, kind: Kind) -> BoxTable:
    r"""Read a MOTChallenge text file.

    Accepted are commas or blanks between columns, Windows line endings, a byte-order mark, blank lines, any order of
    frames, and identities written as ``3.0``. An empty file is an empty table. Boxes without area are accepted in
    ground truth and results (the official protocols score them) but not as detections (they cannot be tracked).

    Column 8 is the class in files of 8 or 9 columns, and in files of 10 columns if columns 9 and 10 are -1 throughout;
    otherwise columns 8 to 10 are world coordinates (MOT15), and there are no classes.

    Args:
        path: Path of the file.
        kind: "ground_truth", "detections" (identities are ignored) or "results".

    Returns:
        Rows sorted by frame.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not a row of numbers, a number is not finite, frame, id or class is not an integer, a
            frame is below 1, a size is negative, an identity occurs twice in a frame, or some detections have a class
            and others do not. The message names file and line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "gt.txt"
    >>> _ = path.write_text("1,7,10,20,30,40,1,1,0.8\n")
    >>> read_mot(path, kind="ground_truth").boxes_xyxy
    array([[10., 20., 40., 60.]])
    """
    table, problems = scan_mot(Path(path), kind)
    raise_first(problems)
    return table


def scan_mot(path: Path, kind: Kind) -> tuple[BoxTable, list[Problem]]:
    """Return the valid rows of a file and the problems of the others; :func:`read_mot` without the exception."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    values, lines, problems = read_numbers(path, KINDS[kind])
    has_class = _has_class(values)
    good, found = _check_values(path, values, lines, kind, has_class)
    problems += found
    if not good.all():
        values, lines = values[good], lines[good]
    table = _table(values, lines, path, has_class)
    if kind == "detections":
        unclassified, found = rows_without_class(table)
        return (table.select(~unclassified) if found else table), problems + found
    repeated, found = repeated_ids(table)
    return (table.select(~repeated) if found else table), problems + found


def rows_without_class(table: BoxTable) -> tuple[npt.NDArray[np.bool_], list[Problem]]:
    """Return the mask of rows without a class in a table where other rows have one, and a problem for each."""
    missing = table.classes < 0
    if missing.all():
        missing[:] = False
    problems = [
        Problem(
            "error",
            table.path or Path(),
            int(table.lines[row]),
            f"the class is {table.classes[row]}, but other rows have classes",
            "give every detection a class, or write -1 in all of them",
            "class",
        )
        for row in np.flatnonzero(missing)
    ]
    return missing, problems


def repeated_ids(table: BoxTable, by_class: bool = False) -> tuple[npt.NDArray[np.bool_], list[Problem]]:
    """Return the mask of rows that repeat an identity of the same frame (and class), and a problem for each."""
    keys = (table.lines, table.classes if by_class else np.zeros(len(table)), table.ids, table.frames)
    order = np.lexsort(keys)
    ordered = [key[order] for key in keys[1:]]
    again = np.zeros(len(table), bool)
    again[1:] = np.logical_and.reduce([key[1:] == key[:-1] for key in ordered])
    again &= ordered[1] >= 0
    problems = [
        Problem(
            "error",
            table.path or Path(),
            int(table.lines[order[row]]),
            f"id {table.ids[order[row]]} is already in frame {table.frames[order[row]]}, "
            f"at line {table.lines[order[row - 1]]}",
            "an identity has one box per frame: remove one of the two",
            "duplicate",
        )
        for row in np.flatnonzero(again)
    ]
    repeated = np.zeros(len(table), bool)
    repeated[order] = again
    return repeated, problems


def _has_class(values: Floats) -> bool:
    columns = values.shape[1]
    return columns in (8, 9) or (columns == 10 and bool(np.all(values[:, 8:] == -1)))


def _table(values: Floats, lines: Ints, path: Path, has_class: bool) -> BoxTable:
    columns = values.shape[1]
    return BoxTable(
        frames=values[:, 0].astype(np.int64),
        ids=values[:, 1].astype(np.int64),
        boxes_xyxy=np.concatenate([values[:, 2:4], values[:, 2:4] + values[:, 4:6]], 1),
        scores=values[:, 6] if columns > 6 else np.ones(len(values)),
        classes=values[:, 7].astype(np.int64) if has_class else np.full(len(values), -1),
        # -1 means unknown
        visibility=np.where(values[:, 8] < 0, 1.0, values[:, 8]) if columns == 9 else np.ones(len(values)),
        lines=lines,
        path=path,
    )


def _check_values(
    path: Path, values: Floats, lines: Ints, kind: Kind, has_class: bool
) -> tuple[npt.NDArray[np.bool_], list[Problem]]:
    """Return the mask of valid rows, and the first problem of each other row."""
    good = np.ones(len(values), bool)
    problems: list[Problem] = []

    def require_not(bad: npt.NDArray[np.bool_], column: int, rule: str, remedy: str) -> None:
        for row in np.flatnonzero(bad & good):
            message = f"{COLUMN_NAMES[column]} must be {rule}, got {values[row, column]:.15g}"
            problems.append(Problem("error", path, int(lines[row]), message, remedy, COLUMN_NAMES[column]))
        good[bad] = False

    for column in range(values.shape[1]):
        require_not(~np.isfinite(values[:, column]), column, "a finite number", "correct or remove the line")
    frame, identity = values[:, 0], values[:, 1]
    require_not(_fraction(frame) | (frame < 1), 0, "a whole number from 1", "MOT files count frames from 1")
    require_not(_fraction(identity), 1, "a whole number below 2**53", "number the identities")
    if kind != "detections":
        require_not(identity < 0, 1, "0 or more", "give every box an identity")
    for column in range(2, 6):
        require_not(abs(values[:, column]) > FARTHEST, column, f"within {FARTHEST:g} pixels", "boxes are in pixels")
    for column in (4, 5):
        size = values[:, column]
        if kind == "detections":
            remedy = "columns 3 to 6 are left, top, width, height; remove empty boxes"
            require_not(size < SMALLEST, column, f"at least {SMALLEST:g} pixels", remedy)
        else:
            require_not(size < 0, column, "0 or more", "columns 3 to 6 are left, top, width, height")
    if has_class:
        require_not(_fraction(values[:, 7]), 7, "a whole number", "write -1 for rows without a class")
    return good, problems


def _fraction(values: Floats) -> npt.NDArray[np.bool_]:
    """Return the mask of values that are not integers exactly representable in float64."""
    return (values != np.rint(values)) | (abs(values) >= EXACT)
