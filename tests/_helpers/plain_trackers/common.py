"""Shared parts of the plain trackers: detections and results as objects, overlaps by loops, padded assignment."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

FORBIDDEN = 1e6


@dataclass
class Detection:
    box: np.ndarray
    score: float
    label: int
    row: int


@dataclass
class Row:
    """One row of a result."""

    id: int
    box: np.ndarray
    score: float
    label: int
    row: int


def read(boxes, scores, classes):
    labels = [0] * len(scores) if classes is None else classes
    return [
        Detection(np.array(box, float), float(score), int(label), row)
        for row, (box, score, label) in enumerate(zip(boxes, scores, labels, strict=True))
    ]


def iou(a, b, pixel=0):
    """IoU of two boxes; with ``pixel=1`` a box from 3 to 5 is 3 pixels wide."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    h = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    if w <= 0 or h <= 0:
        return 0.0
    area_a = (a[2] - a[0] + pixel) * (a[3] - a[1] + pixel)
    area_b = (b[2] - b[0] + pixel) * (b[3] - b[1] + pixel)
    return w * h / (area_a + area_b - w * h)


def table(rows, columns, value):
    """Return ``value(row, column)`` for all pairs."""
    out = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            out[i, j] = value(row, column)
    return out


def match_padded(cost, limit):
    """Solve ``[cost, limit/2; limit/2, 0]``; a match with the padding is unmatched and costs half the limit."""
    n, m = cost.shape
    padded = np.full((n + m, n + m), limit / 2)
    padded[:n, :m] = cost
    padded[n:, m:] = 0
    rows, columns = linear_sum_assignment(padded)
    return [(i, j) for i, j in zip(rows, columns, strict=True) if i < n and j < m]


def match_overlap(gain, overlap, threshold):
    """Return the matching of largest total gain among the pairs above the threshold."""
    return match_padded(np.where(overlap >= threshold, -gain, FORBIDDEN), 0.0)


def match_then_threshold(gain, overlap, threshold, keep_unique):
    """Match as the official SORT and OC-SORT: all pairs with rows = detections, and the threshold afterwards.

    With ``keep_unique``, the pairs above the threshold are returned directly if they are one-to-one.

    Returns:
        The pairs (track, detection), and the detections of dropped pairs, in this order.
    """
    if not gain.size:
        return [], []
    above = (overlap > threshold).T.astype(int)
    if keep_unique and above.sum(1).max() == 1 and above.sum(0).max() == 1:
        pairs = [(i, j) for j, i in zip(*np.nonzero(above), strict=True)]
    else:
        pairs = [(i, j) for j, i in zip(*linear_sum_assignment(-gain.T), strict=True)]
    good = [(i, j) for i, j in pairs if overlap[i, j] >= threshold]
    return good, [j for i, j in pairs if overlap[i, j] < threshold]
