"""An image with one painted box, and networks that find it by its color, for every layout of detector outputs."""

from __future__ import annotations

import numpy as np

from mot_core.detectors.layouts import LAYOUTS

COLOR = (230, 60, 20)  # red, green, blue: found only if channels and scale are right
CLASS, NUM_CLASSES = 2, 3
CELL = (1, 2)  # of stride 8: where YOLOX predicts the box
SIZE = (64, 96)
CELLS = sum((SIZE[0] // stride) * (SIZE[1] // stride) for stride in (8, 16, 32))


def paint(size, box):
    """Return a gray image (H, W, 3) with the corners (x1, y1, x2, y2) painted."""
    image = np.full((*size, 3), 40, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = COLOR
    return image


def find(pixels, layout):
    """Return the corners of the painted pixels in a network input (1, 3, H, W), or zeros."""
    red, _, blue = pixels[0][::-1] if LAYOUTS[layout].is_bgr else pixels[0]
    low, high = (level * LAYOUTS[layout].scale for level in (80, 150))
    rows, columns = np.nonzero((red > high) & (red < 255.5 * LAYOUTS[layout].scale) & (blue < low))
    if not len(rows):
        return np.zeros(4)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)


def network(pixels, layout, image_size=SIZE):
    """Return the outputs of a network of a layout that detects the painted box with score 0.9."""
    x1, y1, x2, y2 = corners = find(pixels, layout)
    center, extent = np.array([x1 + x2, y1 + y2]) / 2, np.array([x2 - x1, y2 - y1])
    scores = np.full(NUM_CLASSES, 0.01)
    scores[CLASS] = 0.9
    if layout == "yolox":
        output = np.zeros((1, CELLS, 5 + NUM_CLASSES))
        row = CELL[1] * (SIZE[1] // 8) + CELL[0]
        output[0, row] = [*(center / 8 - CELL), *np.log(extent.clip(1e-3) / 8), 1.0, *scores]
        return {"output": output}
    if layout == "yolov8":
        output = np.zeros((1, 4 + NUM_CLASSES, CELLS))
        output[0, :, 5] = output[0, :, 6] = [*center, *extent, *scores]  # twice, for non-maximum suppression
        return {"output0": output}
    fraction = np.array([*center, *extent]) / np.array([SIZE[1], SIZE[0]] * 2)
    if layout == "detr":
        logits, boxes = np.full((1, 4, NUM_CLASSES), -9.0), np.full((1, 4, 4), 0.5)
        logits[0, 1], boxes[0, 1] = np.log(scores / (1 - scores)), fraction
        return {"logits": logits, "pred_boxes": boxes}
    height, width = image_size
    scaled = corners / np.array([SIZE[1], SIZE[0]] * 2) * np.array([width, height] * 2)
    labels = np.array([[CLASS, 0]])
    return {"labels": labels, "boxes": np.stack([scaled, scaled])[None], "scores": np.array([[0.9, 0.01]])}
