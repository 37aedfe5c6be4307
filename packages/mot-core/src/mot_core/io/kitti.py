"""KITTI tracking text files: labels, detections and results as tables.

A row is ``frame id type truncated occluded alpha left top right bottom h w l x y z rotation [score]``, separated by
blanks; frames count from 0.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

import numpy as np

from mot_core.io._numbers import parse_number, read_lines, split_at_blanks
from mot_core.io.benchmarks import DONT_CARE, KITTI_CLASSES
from mot_core.io.mot import EXACT, FARTHEST, KINDS, SMALLEST, Kind, repeated_ids
from mot_core.io.problems import Problem, error, raise_first
from mot_core.io.table import BoxTable

_CLASS_NUMBERS = {name.lower(): number for number, name in enumerate(KITTI_CLASSES)} | {
    "person_sitting": KITTI_CLASSES.index("Person")
}
_NUMBERS = (0, 1, 3, 4, 6, 7, 8, 9)  # columns to read in addition to the type
_NAMES = ("frame", "id", "truncated", "occluded", "left", "top", "right", "bottom", "score")


def read_kitti(path: str | PathLike[str], *, kind: Kind) -> BoxTable:
    r"""Read a KITTI tracking text file with all types, including ``DontCare`` (id -1).

    Args:
        path: Path of the file.
        kind: "ground_truth", "detections" (identities are ignored) or "results".

    Returns:
        Rows sorted by frame, with ``classes`` as positions in ``KITTI_CLASSES``; missing scores are 1.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not a valid row, corners are exchanged, or an identity occurs twice in a frame. The
            message names file and line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "0000.txt"
    >>> _ = path.write_text("0 2 Van 0 1 -1.5 296.0 161.0 455.0 292.0 2 1.8 4.4 -4.5 1.8 13.4 -2.1\n")
    >>> table = read_kitti(path, kind="ground_truth")
    >>> table.frames, table.ids, table.occlusion, KITTI_CLASSES[table.classes[0]]
    (array([0]), array([2]), array([1]), 'Van')
    """
    table, problems = scan_kitti(Path(path), kind)
    raise_first(problems)
    return table


def scan_kitti(path: Path, kind: Kind) -> tuple[BoxTable, list[Problem]]:
    """Return the valid rows of a file and the problems of the others; :func:`read_kitti` without the exception."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    lines, numbers = read_lines(path, f"KITTI {KINDS[kind]}")
    good, rows, classes = [], [], []
    problems: list[Problem] = []
    for number, line in zip(numbers.tolist(), lines, strict=True):
        try:
            row, label = _parse(split_at_blanks(line), kind)
        except ValueError as reason:  # noqa: PERF203
            problems.append(Problem("error", path, number, str(reason), "correct or remove the line", "row"))
        else:
            good.append(number)
            rows.append(row)
            classes.append(label)
    values = np.array(rows, np.float64).reshape(len(rows), len(_NAMES))
    table = BoxTable(
        frames=values[:, 0].astype(np.int64),
        ids=values[:, 1].astype(np.int64),
        boxes_xyxy=values[:, 4:8],
        scores=values[:, 8],
        classes=np.array(classes, np.int64),
        lines=np.array(good, np.int64),
        path=path,
        truncation=values[:, 2].astype(np.int64),
        occlusion=values[:, 3].astype(np.int64),
    )
    if kind == "detections":
        return table, problems
    repeated, found = repeated_ids(table, by_class=kind == "results")  # each class is scored separately
    return (table.select(~repeated) if found else table), problems + found


def _parse(fields: list[str], kind: Kind) -> tuple[list[float], int]:
    """Return the numbers named in ``_NAMES`` and the class; raise ``ValueError`` with the reason for invalid rows."""
    if len(fields) not in (17, 18):
        raise ValueError(
            f"expected 17 or 18 columns (frame id type truncated occluded alpha box ...), got {len(fields)}"
        )
    label = _CLASS_NUMBERS.get(fields[2].lower())
    if label is None:
        raise ValueError(f"type must be one of {', '.join(KITTI_CLASSES)}, got {fields[2]!r}")
    values = []
    for name, text in zip(_NAMES, [*(fields[column] for column in _NUMBERS), *fields[17:]], strict=False):
        try:
            value = parse_number(text)
        except ValueError:
            raise ValueError(f"{name} must be a finite number, got {text!r}") from None
        if not abs(value) < EXACT:
            raise ValueError(f"{name} must be below {EXACT:.0f}, got {text}")
        values.append(value)
    if len(fields) == 17:
        values.append(1.0)
    frame, identity, truncated, occluded, left, top, right, bottom, _ = values
    for name, value in zip(_NAMES[:4], (frame, identity, truncated, occluded), strict=True):
        if value != int(value):
            raise ValueError(f"{name} must be a whole number, got {value:g}")
    if frame < 0:
        raise ValueError(f"frame must be 0 or more, got {frame:g}")
    if identity < 0 and kind != "detections" and label != DONT_CARE:
        raise ValueError(f"id must be 0 or more, except for DontCare, got {identity:g}")
    if max(map(abs, (left, top, right, bottom))) > FARTHEST:
        raise ValueError(f"the box must lie within {FARTHEST:g} pixels, got {left:g} {top:g} {right:g} {bottom:g}")
    empty = min(right - left, bottom - top) < SMALLEST
    if right < left or bottom < top or (kind == "detections" and empty):
        least = f" of at least {SMALLEST:g} pixels" if kind == "detections" else ""
        raise ValueError(
            f"columns 7 to 10 must be left, top, right, bottom of a box{least}, "
            f"got {left:g} {top:g} {right:g} {bottom:g}"
        )
    return values, label


def read_seqmap(root: Path) -> dict[str, int]:
    """Return the number of frames by sequence from ``evaluate_tracking.seqmap*`` in a KITTI folder; may be empty."""
    lengths: dict[str, int] = {}
    for path in sorted(root.glob("evaluate_tracking.seqmap*")):
        lines, numbers = read_lines(path, "sequence map")
        for number, line in zip(numbers.tolist(), lines, strict=True):
            fields = split_at_blanks(line)
            if len(fields) < 4 or not re.fullmatch("[0-9]{1,9}", fields[3]):
                raise error(path, f"expected 'name empty 000000 length', got {line!r}", "correct it", "seqmap", number)
            lengths[fields[0]] = int(fields[3])
    return lengths
