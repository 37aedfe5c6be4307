"""Association costs between tracks and detections: the replaceable part of every tracker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrackBatch:
    """All ``N`` tracks of a stream at the time of the new frame. Read-only: copy what you keep.

    Attributes:
        ids: Identities of shape ``(N,)``.
        boxes_xyxy: Predicted corners of shape ``(N, 4)`` in pixels.
        scores: Scores of the last detections, of shape ``(N,)``.
        classes: Classes of the last detections, of shape ``(N,)``.
        elapsed: Frames since the last detection, of shape ``(N,)``; 1 for tracks seen in the previous frame.
        index: Row of the last detection in the input of ``update`` of its frame, of shape ``(N,)``.
        velocities: Estimated velocity of the centers (x, y) in pixels per frame, of shape ``(N, 2)``; 0 for new tracks.
            None if unknown.
    """

    ids: Integers
    boxes_xyxy: Floats
    scores: Floats
    classes: Integers
    elapsed: Floats
    index: Integers
    velocities: Floats | None = None


@dataclass(frozen=True, eq=False)
class DetectionBatch:
    """The ``M`` detections of the new frame that take part in the association.

    Attributes:
        boxes_xyxy: Corners of shape ``(M, 4)`` in pixels.
        scores: Confidences of shape ``(M,)``.
        classes: Class labels of shape ``(M,)``.
        index: Row of each detection in the input of ``update``, of shape ``(M,)``; indexes embeddings and the like.
    """

    boxes_xyxy: Floats
    scores: Floats
    classes: Integers
    index: Integers


AssociationCost: TypeAlias = Callable[[TrackBatch, DetectionBatch], npt.NDArray[Any]]
"""``(N tracks, M detections) -> (N, M)`` cost in [0, 1]: 0 for certainly the same object, 1 for certainly not.

Called once per frame with all tracks and detections; each stage of a tracker uses the rows and columns it needs.
"""


def iou_cost(tracks: TrackBatch, detections: DetectionBatch) -> Floats:
    """Return 1 - IoU of predicted and detected boxes, the default cost of all three trackers.

    >>> empty = np.zeros(1, np.int64)
    >>> box = np.array([[0.0, 0.0, 2.0, 2.0]])
    >>> tracks = TrackBatch(empty, box, empty, empty, empty, empty)
    >>> iou_cost(tracks, DetectionBatch(box + [1, 0, 1, 0], empty, empty, empty)).round(3)
    array([[0.667]])
    """
    overlap = overlap_matrix(tracks.boxes_xyxy.T, detections.boxes_xyxy.T)
    np.subtract(1.0, overlap, out=overlap)
    return overlap


def pixel_iou_cost(tracks: TrackBatch, detections: DetectionBatch) -> Floats:
    """Return 1 - IoU with the integer-pixel convention: a box from 3 to 5 is 3 pixels wide (official ByteTrack).

    >>> empty = np.zeros(1, np.int64)
    >>> box = np.array([[0.0, 0.0, 1.0, 1.0]])
    >>> tracks = TrackBatch(empty, box, empty, empty, empty, empty)
    >>> pixel_iou_cost(tracks, DetectionBatch(box + [1, 0, 1, 0], empty, empty, empty)).round(3)
    array([[0.667]])
    """
    overlap = overlap_matrix(tracks.boxes_xyxy.T, detections.boxes_xyxy.T, pixel=1.0)
    np.subtract(1.0, overlap, out=overlap)
    return overlap


def overlap_matrix(a: Floats, b: Floats, pixel: float = 0.0) -> Floats:
    """Return the IoU ``(N, M)`` of boxes with positive area, stored by coordinate: ``(4, N)`` and ``(4, M)`` corners.

    Same values as :func:`mot_core.boxes.pairwise_iou`, with the memory layout and few NumPy calls that an online
    tracker needs.

    >>> overlap_matrix(np.array([[0.0, 0.0, 2.0, 2.0]]).T, np.array([[1.0, 0.0, 3.0, 2.0]]).T).round(3)
    array([[0.333]])
    """
    size_a = a[2:] - a[:2]
    size_b = b[2:] - b[:2]
    side = np.minimum(a[2:, :, None], b[2:, None, :])
    side -= np.maximum(a[:2, :, None], b[:2, None, :])
    if pixel:
        size_a += pixel
        size_b += pixel
        side += pixel
    np.maximum(side, 0.0, out=side)
    overlap = side[0]
    overlap *= side[1]
    union = np.add.outer(size_a[0] * size_a[1], size_b[0] * size_b[1])
    union -= overlap
    overlap /= union
    return overlap
