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
