"""One-to-one assignment of tracks (rows) to detections (columns) under a cost limit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def assign(cost: Floats, limit: float) -> tuple[Integers, Integers]:
    """Find the cheapest one-to-one matching in which an unmatched row or column costs ``limit / 2``.

    Pairs that cost ``limit`` or more are never matched. The result equals that of the extended
    ``(N + M) x (N + M)`` problem ``[cost, limit/2; limit/2, 0]``, which solvers with a ``cost_limit`` argument build,
    but the problem keeps its size: the Hungarian method minimizes ``min(cost - limit, 0)``, and pairs that contribute
    nothing are dropped.

    Args:
        cost: Costs of shape ``(N, M)``; ``inf`` marks forbidden pairs.
        limit: Exclusive upper bound of the cost of a pair. Higher values match more pairs.

    Returns:
        Rows and columns of the matched pairs, in ascending order of rows.

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
    """Find the one-to-one matching with the largest total ``gain`` among pairs with ``overlap >= threshold``.

    Args:
        gain: Gains of shape ``(N, M)``, positive wherever the overlap reaches the threshold.
        overlap: IoU of shape ``(N, M)``.
        threshold: Lowest IoU of a pair. Higher values match fewer pairs.

    Returns:
        Rows and columns of the matched pairs, in ascending order of rows.

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
    """Match all pairs first and drop those below the threshold afterwards, as the official SORT and OC-SORT code does.

    A dropped pair may have taken a detection away from a pair above the threshold, which is why
    :func:`assign_overlap` is the default.

    Args:
        gain: Gains of shape ``(N, M)``, to maximize.
        overlap: IoU of shape ``(N, M)``.
        threshold: Lowest IoU of a pair.
        keep_unique: Whether to return the pairs above the threshold directly, regardless of ``gain``, if they are
            one-to-one already.

    Returns:
        Rows and columns of the matched pairs, and the columns of the dropped pairs.

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
