"""Paths of the box centers of every identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mot_core.io import BoxTable

CenterPath = npt.NDArray[np.float64]
"""Rows ``(L, 3)`` in order of frames: frame number, and x and y of the box center in pixels."""


def paths_by_identity(tracks: BoxTable) -> dict[int, CenterPath]:
    """Return the path of every identity, in ascending order of identities.

    >>> from mot_core.io import BoxTable
    >>> paths_by_identity(BoxTable([4, 2], [7, 7], [[0, 0, 4, 2], [2, 2, 6, 4]]))
    {7: array([[2., 4., 3.],
           [4., 2., 1.]])}
    """
    order = np.lexsort((tracks.frames, tracks.ids))
    boxes = tracks.boxes_xyxy[order]
    rows = np.column_stack([tracks.frames[order], (boxes[:, :2] + boxes[:, 2:]) / 2])
    ids, starts = np.unique(tracks.ids[order], return_index=True)
    ends = [*starts[1:], len(rows)]
    return {int(identity): rows[a:b] for identity, a, b in zip(ids, starts, ends[: len(ids)], strict=True)}


def path_between(path: CenterPath, first: int, last: int) -> npt.NDArray[np.float64]:
    """Return the centers ``(K, 2)`` of a path in the frames ``first`` to ``last``, both included.

    >>> path_between(np.array([[1., 10., 5.], [2., 20., 5.], [4., 40., 5.]]), 2, 3)
    array([[20.,  5.]])
    """
    start, stop = np.searchsorted(path[:, 0], (first, last + 1))
    return path[start:stop, 1:]
