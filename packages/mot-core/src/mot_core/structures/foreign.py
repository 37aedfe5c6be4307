"""Detections of other libraries, recognized by their attributes: nothing is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mot_core.structures.detections import Detections, to_numpy

ACCEPTED = (
    "supervision.Detections, results of Ultralytics, a dict with boxes, scores and labels as of torchvision and "
    "transformers, or an array (N, 5) or (N, 6) of corners, score and class"
)


def detections_from(found: Any) -> Detections:
    """Convert the detections of one image in the form of another library.

    Args:
        found: ``supervision.Detections``, results or boxes of Ultralytics, a dict with ``boxes`` (corners in pixels),
            ``scores`` and ``labels`` as of torchvision and of ``post_process_object_detection`` of transformers, an
            array or tensor of rows ``x1, y1, x2, y2, score`` and optionally ``class``, or :class:`Detections`.

    Raises:
        TypeError: If it is something else, or its boxes have no scores.

    >>> detections_from([[0, 0, 4, 2, 0.9, 3]]).classes
    array([3])
    """
    if isinstance(found, Detections):
        return found
    if isinstance(found, Mapping):
        if {"boxes", "scores"} <= set(found):
            return Detections(found["boxes"], found["scores"], found.get("labels"))
        raise TypeError(f"detections: expected a dict with boxes and scores, got the keys {', '.join(map(str, found))}")
    if hasattr(found, "xyxy") and hasattr(found, "confidence"):  # supervision
        if found.confidence is None and len(found.xyxy):
            raise TypeError("detections: expected supervision.Detections with confidence, got None; set it")
        scores = found.xyxy[:, 0] if found.confidence is None else found.confidence
        return Detections(found.xyxy, scores, found.class_id)
    boxes = getattr(found, "boxes", found)
    if all(hasattr(boxes, name) for name in ("xyxy", "conf", "cls")):  # Ultralytics
        return Detections(boxes.xyxy, boxes.conf, to_numpy(boxes.cls).astype("int64"))
    if isinstance(found, (list, tuple)) or hasattr(found, "__array__") or hasattr(found, "detach"):
        rows = found if hasattr(found, "shape") else to_numpy(found)
        if rows.shape == (0,):
            rows = rows.reshape(0, 5)
        if len(rows.shape) == 2 and rows.shape[1] in (5, 6):
            classes = to_numpy(rows[:, 5]).astype("int64") if rows.shape[1] == 6 else None
            return Detections(rows[:, :4], rows[:, 4], classes)
        raise TypeError(f"detections: expected {ACCEPTED}, got an array of shape {tuple(rows.shape)}")
    raise TypeError(f"detections: expected {ACCEPTED}, got {type(found).__name__}")
