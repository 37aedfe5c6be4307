"""Input of the trackers: validation of one frame of detections and conversion to arrays by coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mot_core.structures import Array, Tracks, to_numpy

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
SHORTEST = 1e-12  # minimum norm of an embedding, as in torch.nn.functional.normalize


@dataclass(slots=True, eq=False)
class FrameDetections:
    """The ``N`` validated detections of one frame.

    Attributes:
        boxes: Corners of shape ``(4, N)``, one row per coordinate.
        scores: Confidences of shape ``(N,)``.
        classes: Labels of shape ``(N,)``, or None if the user gave none.
        embeddings: Unit-length embeddings of shape ``(N, E)``, or None if the user gave none.
    """

    boxes: Floats
    scores: Floats
    classes: Integers | None
    embeddings: Floats | None = None

    def rows(self, index: Integers) -> FrameDetections:
        """Return the detections at ``index``."""
        classes = None if self.classes is None else self.classes[index]
        embeddings = None if self.embeddings is None else self.embeddings[index]
        return FrameDetections(self.boxes.take(index, 1), self.scores[index], classes, embeddings)


def read_frame(
    boxes_xyxy: Array, scores: Array, classes: Array | None, embeddings: Array | None = None
) -> FrameDetections:
    """Validate the detections of one frame; errors name the row at fault.

    >>> read_frame([[0, 0, 2, 3]], [0.5], None).boxes.ravel()
    array([0., 0., 2., 3.])
    """
    boxes = np.asarray(to_numpy(boxes_xyxy), np.float64)
    values = np.asarray(to_numpy(scores), np.float64)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must have shape (N, 4), got {boxes.shape}")
    if values.shape != boxes.shape[:1]:
        raise ValueError(f"scores must have shape ({len(boxes)},), one per row of boxes_xyxy, got {values.shape}")
    labels = None
    if classes is not None:
        labels = _read_classes(classes, len(boxes))
    by_coordinate = np.ascontiguousarray(boxes.T)
    positive = by_coordinate[2:] > by_coordinate[:2]
    if not (positive.all() and np.isfinite(by_coordinate).all() and np.isfinite(values).all()):
        _refuse(boxes, values)
    return FrameDetections(by_coordinate, values, labels, _read_embeddings(embeddings, len(boxes)))


def write_tracks(tracks: Tracks, like: Array) -> Tracks:
    """Return ``tracks`` in the format of the user's detections: tensors if ``like`` is a tensor."""
    if isinstance(like, np.ndarray) or not hasattr(like, "detach"):
        return tracks
    return tracks.torch(like if like.is_floating_point() else None)


def _read_classes(classes: Array, count: int) -> Integers:
    labels = np.asarray(to_numpy(classes))
    if labels.shape != (count,):
        raise ValueError(f"classes must have shape ({count},), one per row of boxes_xyxy, got {labels.shape}")
    whole = labels.dtype.kind in "iub" or (
        labels.dtype.kind == "f" and bool((np.abs(labels) < 2**53).all() and (labels % 1 == 0).all())
    )
    if not whole:
        raise ValueError(f"classes must be integers, got {labels.tolist()}; give each class a number")
    return labels.astype(np.int64)


def _read_embeddings(embeddings: Array | None, count: int) -> Floats | None:
    if embeddings is None or not count:
        return None
    values = np.asarray(to_numpy(embeddings), np.float64)
    if values.ndim != 2 or len(values) != count:
        raise ValueError(f"embeddings must have shape ({count}, E), one row per row of boxes_xyxy, got {values.shape}")
    finite = np.isfinite(values).all(1)
    if not finite.all():
        raise ValueError(f"embeddings must be finite, but row {int(np.argmin(finite))} is not")
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), SHORTEST)


def _refuse(boxes: Floats, scores: Floats) -> None:
    """Raise ValueError for the first detection that is not finite or has no area."""
    finite = np.isfinite(boxes).all(1) & np.isfinite(scores)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(
            f"boxes_xyxy and scores must be finite, but row {row} is {boxes[row].tolist()} with score {scores[row]}; "
            "remove such detections before tracking"
        )
    positive = (boxes[:, 2:] > boxes[:, :2]).all(1)
    if not positive.all():
        row = int(np.argmin(positive))
        raise ValueError(
            f"boxes_xyxy must be corners (x1, y1, x2, y2) with x2 > x1 and y2 > y1, but row {row} is "
            f"{boxes[row].tolist()}; if these are (left, top, width, height), convert with "
            "mot_core.boxes.ltwh_to_xyxy, and drop boxes without area"
        )
