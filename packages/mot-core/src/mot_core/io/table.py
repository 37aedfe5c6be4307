"""Rows of one ground-truth, detection or result file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_UNSET: Any = None  # replaced by the defaults below
_DEFAULTS = {"scores": 1.0, "classes": -1, "visibility": 1.0, "lines": 0}


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Boxes of many frames as columns of equal length ``R``, sorted by frame (in file order within a frame).

    Unsorted rows are sorted; omitted columns are filled with the value for "unknown".

    Attributes:
        frames: Frame numbers of shape ``(R,)`` as in the file: from 1 in MOT files, from 0 in KITTI.
        ids: Identities of shape ``(R,)``; -1 for none.
        boxes_xyxy: Corners of shape ``(R, 4)`` in pixels.
        scores: The conf column, of shape ``(R,)``: confidence of detections and results; 0 in ground truth marks rows
            that do not count.
        classes: Class numbers of shape ``(R,)``; -1 if the file has none; for KITTI the position in ``KITTI_CLASSES``.
        visibility: Visible fraction of each box in [0, 1], of shape ``(R,)``; 1 if the file has none.
        lines: Line numbers in the file, of shape ``(R,)``, from 1; 0 without a file.
        path: Path of the file, or None.
        truncation: Truncation levels of shape ``(R,)`` (KITTI only), otherwise None.
        occlusion: Occlusion levels of shape ``(R,)`` (KITTI only), otherwise None.

    >>> table = BoxTable([2, 1, 2], [7, 7, 8], [[0, 0, 4, 2], [1, 0, 5, 2], [9, 9, 10, 10]])
    >>> table.frames, table.ids
    (array([1, 2, 2]), array([7, 7, 8]))
    """

    frames: Ints
    ids: Ints
    boxes_xyxy: Floats
    scores: Floats = _UNSET
    classes: Ints = _UNSET
    visibility: Floats = _UNSET
    lines: Ints = _UNSET
    path: Path | None = None
    truncation: Ints | None = None
    occlusion: Ints | None = None

    def __post_init__(self) -> None:
        frames = np.asarray(self.frames, np.int64)
        order = None if np.all(frames[1:] >= frames[:-1]) else np.argsort(frames, kind="stable")
        for name, dtype in _COLUMNS.items():
            value = getattr(self, name)
            if value is None:
                if name not in _DEFAULTS:
                    continue
                value = np.full(len(frames), _DEFAULTS[name], dtype)
            value = np.asarray(value, dtype)
            shape = (len(frames), 4) if name == "boxes_xyxy" else (len(frames),)
            if value.shape != shape:
                if value.size or len(frames):
                    raise ValueError(f"BoxTable: {name} must have shape {shape}, got {value.shape}")
                value = value.reshape(shape)
            object.__setattr__(self, name, value if order is None else value[order])

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, number: int) -> slice:
        """Return the rows of one frame, as a slice of every column (empty for a frame without rows).

        >>> BoxTable([1, 2, 2], [7, 7, 8], np.zeros((3, 4))).frame(2)
        slice(1, 3, None)
        """
        start, stop = self.frames.searchsorted((number, number + 1))
        return slice(int(start), int(stop))

    def select(self, rows: Any) -> BoxTable:
        """Return a table of some rows, given as a boolean mask, positions or a slice.

        >>> table = BoxTable([1, 2, 2], [7, 7, 8], np.zeros((3, 4)))
        >>> table.select(table.ids == 7).frames
        array([1, 2])
        """
        columns = {name: getattr(self, name) for name in _COLUMNS}
        selected: Any = {name: None if column is None else column[rows] for name, column in columns.items()}
        return replace(self, **selected)

    @classmethod
    def empty(cls, path: Path | None = None) -> BoxTable:
        """Create a table without rows.

        >>> len(BoxTable.empty())
        0
        """
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), path=path)

    @classmethod
    def concatenate(cls, tables: Iterable[BoxTable]) -> BoxTable:
        """Concatenate tables; within a frame, rows are in the order of the tables.

        ``path`` is kept if all tables share it, and the KITTI columns if all tables have them.

        >>> one = BoxTable([1], [7], [[0, 0, 4, 2]])
        >>> len(BoxTable.concatenate([one, one]))
        2
        """
        parts = list(tables)
        if not parts:
            return cls.empty()
        columns = {name: [getattr(part, name) for part in parts] for name in _COLUMNS}
        joined: Any = {
            name: None if any(column is None for column in values) else np.concatenate(values)
            for name, values in columns.items()
        }
        paths = {part.path for part in parts}
        return cls(**joined, path=paths.pop() if len(paths) == 1 else None)


_COLUMNS: dict[str, type[np.generic]] = {
    "frames": np.int64,
    "ids": np.int64,
    "boxes_xyxy": np.float64,
    "scores": np.float64,
    "classes": np.int64,
    "visibility": np.float64,
    "lines": np.int64,
    "truncation": np.int64,
    "occlusion": np.int64,
}
