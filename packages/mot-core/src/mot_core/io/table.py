"""The rows of one ground-truth, detection or result file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_NOT_TOLD: Any = None  # replaced by the value below
_DEFAULTS = {"scores": 1.0, "classes": -1, "visibility": 1.0, "lines": 0}


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Boxes of many frames as columns of equal length ``R``, sorted by frame (file order within a frame).

    Rows given unsorted are sorted; a column left out gets the value that means "not told".

    Attributes:
        frames: ``(R,)`` frame numbers as in the file: from 1 in MOT files, from 0 in KITTI.
        ids: ``(R,)`` identities, -1 = none.
        boxes_xyxy: ``(R, 4)`` corners in pixels.
        scores: ``(R,)`` the conf column: confidence of detections and results; in ground truth 0 marks rows
            that do not count.
        classes: ``(R,)`` class numbers, -1 where the file has none; KITTI: position in ``KITTI_CLASSES``.
        visibility: ``(R,)`` visible share of the box in [0, 1]; 1 where the file has none.
        lines: ``(R,)`` lines in the file, from 1; 0 where there is no file.
        path: the file.
        truncation: ``(R,)`` KITTI only, otherwise None.
        occlusion: ``(R,)`` KITTI only, otherwise None.

    >>> table = BoxTable([2, 1, 2], [7, 7, 8], [[0, 0, 4, 2], [1, 0, 5, 2], [9, 9, 10, 10]])
    >>> table.frames, table.ids
    (array([1, 2, 2]), array([7, 7, 8]))
    """

    frames: Ints
    ids: Ints
    boxes_xyxy: Floats
    scores: Floats = _NOT_TOLD
    classes: Ints = _NOT_TOLD
    visibility: Floats = _NOT_TOLD
    lines: Ints = _NOT_TOLD
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
        """The rows of one frame, as a slice of every column (empty for a frame without rows).

        >>> BoxTable([1, 2, 2], [7, 7, 8], np.zeros((3, 4))).frame(2)
        slice(1, 3, None)
        """
        start, stop = self.frames.searchsorted((number, number + 1))
        return slice(int(start), int(stop))

    def select(self, rows: Any) -> BoxTable:
        """The table of some rows: a boolean mask, positions or a slice.

        >>> table = BoxTable([1, 2, 2], [7, 7, 8], np.zeros((3, 4)))
        >>> table.select(table.ids == 7).frames
        array([1, 2])
        """
        columns = {name: getattr(self, name) for name in _COLUMNS}
        selected: Any = {name: None if column is None else column[rows] for name, column in columns.items()}
        return replace(self, **selected)

    @classmethod
    def empty(cls, path: Path | None = None) -> BoxTable:
        """A table without rows.

        >>> len(BoxTable.empty())
        0
        """
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), path=path)

    @classmethod
    def concatenate(cls, tables: Iterable[BoxTable]) -> BoxTable:
        """The rows of several tables in one; within a frame, in the order of the tables.

        ``path`` is kept where all tables share it, KITTI's columns where all tables have them.

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
