"""Inputs and outputs of detectors exported to ONNX, recognized by the names and shapes of their outputs.

| layout | input | outputs |
|---|---|---|
| ``yolox`` | BGR, 0 to 255, padded right and below | ``(1, A, 5 + C)``: offsets in cells, objectness, class scores |
| ``yolov8`` | RGB, 0 to 1, padded on both sides | ``(1, 4 + C, A)``: center and size in pixels, class scores |
| ``detr`` | RGB, 0 to 1, stretched | logits ``(1, Q, C)``, center and size in [0, 1] ``(1, Q, 4)`` |
| ``boxes`` | as ``detr``, and the image size | ``labels``, corners in pixels ``boxes (1, Q, 4)``, ``scores`` |

``A`` is the number of cells of the strides 8, 16 and 32. RT-DETR and D-FINE have the layout ``boxes`` in their own
export and ``detr`` in that of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mot_core.boxes import cxcywh_to_xyxy, nms
from mot_core.detectors.letterbox import Letterbox, Placement

LOWEST_SCORE = 0.05
"""Detections below this score are dropped: below the low threshold of every tracker."""
NMS_THRESHOLD = 0.7
STRIDES = (8, 16, 32)

Floats = npt.NDArray[np.floating]
Outputs = Mapping[str, npt.NDArray[np.generic]]
Found = tuple[Floats, Floats, npt.NDArray[np.integer]]
"""Boxes ``(N, 4)`` as corners in pixels of the image, scores ``(N,)`` and classes ``(N,)``."""


@dataclass(frozen=True)
class OutputLayout:
    """Preparation of the input and decoding of the outputs of a network.

    Attributes:
        placement: Position of the image in the input.
        is_bgr: Whether the input has the channels blue, green, red.
        scale: Factor of pixel values from 0 to 255.
        decode: Function from outputs and position of the image to its detections.
    """

    placement: Placement
    is_bgr: bool
    scale: float
    decode: Callable[[Outputs, Letterbox], Found]

    def input(self, box: Letterbox) -> npt.NDArray[np.float32]:
        """Return the input ``(1, 3, H, W)``."""
        pixels = box.pixels[..., ::-1] if self.is_bgr else box.pixels
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None] * np.float32(self.scale))


def recognize_layout(shapes: Mapping[str, tuple[int, ...]], size: tuple[int, int]) -> str:
    """Return the name of the layout of outputs with these names and shapes.

    Args:
        shapes: Shapes by name.
        size: Height and width of the input.

    Raises:
        ValueError: If no layout has such outputs; the message lists them.

    >>> recognize_layout({"output0": (1, 84, 8400)}, (640, 640))
    'yolov8'
    """
    if {"labels", "boxes", "scores"} <= set(shapes):
        return "boxes"
    if {"logits", "pred_boxes"} <= set(shapes):
        return "detr"
    cells = sum(len(grid) for grid in _grids(size))
    three = [shape for shape in shapes.values() if len(shape) == 3]
    if len(shapes) == 1 and three:
        if three[0][1] == cells and three[0][2] > 5:
            return "yolox"
        if three[0][2] == cells and three[0][1] > 4:
            return "yolov8"
    elif len(three) >= 2 and three[0][1] == three[1][1] and 4 in (three[0][2], three[1][2]):
        return "detr"
    given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    raise ValueError(
        f"layout: expected outputs of one of {', '.join(LAYOUTS)} for an input of {size[0]}x{size[1]}, got {given}; "
        "export the model without post-processing, or choose the layout"
    )


def _grids(size: tuple[int, int]) -> list[npt.NDArray[np.float64]]:
    """Return x, y and stride of all cells, row by row, for each stride."""
    grids = []
    for stride in STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = np.mgrid[:rows, :columns]
        grids.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], 1).astype(np.float64))
    return grids


def _decode_yolox(outputs: Outputs, box: Letterbox) -> Found:
    rows = _only(outputs)[0].astype(np.float64)
    x, y, stride = np.concatenate(_grids((box.pixels.shape[0], box.pixels.shape[1]))).T
    if len(rows) != len(x) or rows.shape[1] < 6:
        raise ValueError(
            f"layout yolox: expected an output (1, {len(x)}, 5 + C), got (1, {len(rows)}, {rows.shape[1]})"
        )
    center = (rows[:, :2] + np.stack([x, y], 1)) * stride[:, None]
    # Limits of exp keep boxes of untrained cells finite.
    size = np.exp(np.clip(rows[:, 2:4], -10, 10)) * stride[:, None]
    return _suppressed(np.concatenate([center, size], 1), rows[:, 4:5] * rows[:, 5:], box)


def _decode_yolov8(outputs: Outputs, box: Letterbox) -> Found:
    rows = _only(outputs)[0].astype(np.float64).T
    if rows.shape[1] < 5:
        raise ValueError(f"layout yolov8: expected an output (1, 4 + C, A), got (1, {rows.shape[1]}, {rows.shape[0]})")
    return _suppressed(rows[:, :4], rows[:, 4:], box)


def _decode_detr(outputs: Outputs, box: Letterbox) -> Found:
    if {"logits", "pred_boxes"} <= set(outputs):  # the names of transformers, among others
        logits, boxes = (outputs[name][0].astype(np.float64) for name in ("logits", "pred_boxes"))
    else:
        arrays = [array[0].astype(np.float64) for array in outputs.values() if array.ndim == 3][:2]
        if len(arrays) < 2 or 4 not in (arrays[0].shape[1], arrays[1].shape[1]):
            raise ValueError("layout detr: expected outputs (1, Q, C) and (1, Q, 4), got others")
        logits, boxes = arrays if arrays[1].shape[1] == 4 else arrays[::-1]
    scores = 1 / (1 + np.exp(-logits))
    labels = scores.argmax(1)
    best = scores[np.arange(len(scores)), labels]
    kept = best >= LOWEST_SCORE
    height, width = box.image_size
    corners = cxcywh_to_xyxy(boxes[kept]) * np.array([width, height, width, height])
    return corners, best[kept], labels[kept]


def _decode_boxes(outputs: Outputs, box: Letterbox) -> Found:
    labels, boxes, scores = (outputs[name][0] for name in ("labels", "boxes", "scores"))
    kept = scores.astype(np.float64) >= LOWEST_SCORE
    return boxes[kept].astype(np.float64), scores[kept].astype(np.float64), labels[kept].astype(np.int64)


def _only(outputs: Outputs) -> npt.NDArray[np.generic]:
    return next(iter(outputs.values()))


def _suppressed(boxes_cxcywh: Floats, class_scores: Floats, box: Letterbox) -> Found:
    """Return the best class of each cell after non-maximum suppression within classes, in pixels of the image."""
    labels = class_scores.argmax(1)
    scores = class_scores[np.arange(len(labels)), labels]
    rows = np.flatnonzero(scores >= LOWEST_SCORE)
    corners = cxcywh_to_xyxy(boxes_cxcywh[rows])
    kept = nms(corners, scores[rows], NMS_THRESHOLD, labels[rows])
    return box.to_image(corners[kept]), scores[rows][kept], labels[rows][kept]


LAYOUTS: dict[str, OutputLayout] = {
    "yolox": OutputLayout("corner", True, 1.0, _decode_yolox),
    "yolov8": OutputLayout("center", False, 1 / 255, _decode_yolov8),
    "detr": OutputLayout("stretch", False, 1 / 255, _decode_detr),
    "boxes": OutputLayout("stretch", False, 1 / 255, _decode_boxes),
}
"""Layouts by name."""
