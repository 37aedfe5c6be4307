"""One-to-one assignment of tracks (rows) to detections (columns) under a cost limit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def assign(cost: Floats, limit: float) -> tuple[Integers, Integers]:
    """The cheapest one-to-one matching in which staying unmatched costs ``limit / 2`` per side.

    Pairs that cost ``limit`` or more are never matched. This equals the ``(N + M) x (N + M)`` problem
    ``[cost, limit/2; limit/2, 0]`` that solvers with a ``cost_limit`` work on, in its original size: a pair is worth
    ``cost - limit`` if that is negative and nothing otherwise, and worthless pairs are dropped afterwards.

    Args:
        cost: ``(N, M)``; may hold ``inf`` for forbidden pairs.
        limit: highest cost of a pair, exclusive.

    Returns:
        Rows and columns of the matched pairs, rows ascending.

    >>> rows, columns = assign(np.array([[0.1, 0.6], [0.2, 0.95]]), limit=0.9)
    >>> rows.tolist(), columns.tolist()
    ([0, 1], [1, 0])
    """
    worth = cost - limit
    np.minimum(worth, 0.0, out=worth)
    rows, columns = linear_sum_assignment(worth)
    kept = worth[rows, columns] < 0.0
    return rows[kept], columns[kept]


def assign_overlap(gain: Floats, overlap: Floats, threshold: float) -> tuple[Integers, Integers]:
    """The one-to-one matching of largest total ``gain`` among the pairs whose ``overlap`` reaches ``threshold``.

    Args:
        gain: ``(N, M)``, positive wherever the overlap reaches the threshold.
        overlap: ``(N, M)`` IoU.
        threshold: lowest IoU of a pair.

    Returns:
        Rows and columns of the matched pairs, rows ascending.

    >>> overlap = np.array([[0.5, 0.4], [0.45, 0.0]])
    >>> rows, columns = assign_overlap(overlap, overlap, 0.3)
    >>> rows.tolist(), columns.tolist()
    ([0, 1], [1, 0])
    """
    worth = np.where(overlap >= threshold, gain, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    kept = worth[rows, columns] > 0.0
    return rows[kept], columns[kept]


def assign_then_threshold(
    gain: Floats, overlap: Floats, threshold: float, *, keep_unique: bool = False
) -> tuple[Integers, Integers, Integers]:
    """As the official SORT and OC-SORT do it: match everything, then drop the pairs below the threshold.

    A pair that is dropped may have taken a detection from a pair that would have counted, which is why
    :func:`assign_overlap` is the default.

    Args:
        gain: ``(N, M)`` to maximise.
        overlap: ``(N, M)`` IoU.
        threshold: lowest IoU of a pair.
        keep_unique: if the overlaps above the threshold are one to one already, take them, whatever the gain.

    Returns:
        Rows and columns of the matched pairs, and the columns that lost their partner to the threshold.

    >>> overlap = np.array([[0.31, 0.29], [0.29, 0.0]])
    >>> [v.tolist() for v in assign_then_threshold(overlap, overlap, 0.3)]
    [[], [], [0, 1]]
    >>> [v.tolist() for v in assign_then_threshold(overlap, overlap, 0.3, keep_unique=True)]
    [[0], [0], []]
    """
    above = overlap > threshold
    if keep_unique and above.any(0).sum() == above.any(1).sum() == above.sum() > 0:
        columns, rows = np.nonzero(above.T)
    else:
        columns, rows = linear_sum_assignment(gain.T, maximize=True)
    kept = overlap[rows, columns] >= threshold
    return rows[kept], columns[kept], columns[~kept]
