"""Layouts of detector outputs: a painted box comes back, and outputs of other models are rejected."""

import numpy as np
import pytest

from _helpers.painted_box import CELLS, CLASS, SIZE, network, paint
from mot_core.boxes import iou
from mot_core.detectors.layouts import LAYOUTS, recognize_layout
from mot_core.detectors.letterbox import letterbox

BOX = (20, 16, 56, 44)


@pytest.mark.parametrize("layout", [*LAYOUTS])
@pytest.mark.parametrize("size", [(64, 96), (61, 103), (200, 90), (48, 300)], ids=str)
def test_a_painted_box_comes_back(layout, size):
    stretch = np.array([size[1], size[0]] * 2) / np.array([96, 64] * 2)
    box = (np.array(BOX) * stretch).round().astype(int)
    image = paint(size, box)
    placed = letterbox(image, SIZE, LAYOUTS[layout].placement)
    outputs = network(LAYOUTS[layout].input(placed), layout, size)
    assert recognize_layout({name: array.shape for name, array in outputs.items()}, SIZE) == layout
    boxes, scores, classes = LAYOUTS[layout].decode(outputs, placed)
    assert classes.tolist() == [CLASS]
    np.testing.assert_allclose(scores, 0.9, rtol=1e-6)
    pixel = 1 / np.array([*placed.scale, *placed.scale])  # of the input, in the image
    np.testing.assert_array_less(abs(boxes[0] - box), 1.01 * pixel + 1e-6)
    if min(placed.scale) >= 1:
        assert iou(boxes[0], box.astype(float)) > 0.9


@pytest.mark.parametrize("layout", [*LAYOUTS])
def test_images_without_a_box(layout):
    placed = letterbox(np.full((40, 70, 3), 90, np.uint8), SIZE, LAYOUTS[layout].placement)
    outputs = {name: np.zeros_like(array) for name, array in network(LAYOUTS[layout].input(placed), layout).items()}
    if layout == "detr":
        outputs["logits"] -= 9
    boxes, scores, classes = LAYOUTS[layout].decode(outputs, placed)
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))


@pytest.mark.parametrize(
    ("shapes", "layout"),
    [
        ({"output": (1, 8400, 85)}, "yolox"),
        ({"output0": (1, 84, 8400)}, "yolov8"),
        ({"pred_boxes": (1, 300, 4), "logits": (1, 300, 80), "hidden": (1, 300, 256)}, "detr"),
        ({"a": (1, 300, 4), "b": (1, 300, 80)}, "detr"),
        ({"labels": (1, 300), "boxes": (1, 300, 4), "scores": (1, 300)}, "boxes"),
    ],
)
def test_recognition(shapes, layout):
    assert recognize_layout(shapes, (640, 640)) == layout


@pytest.mark.parametrize(
    "shapes", [{"probabilities": (1, 1000)}, {"output": (1, 25200, 85)}, {"masks": (1, 160, 160), "x": (1, 84, 8400)}]
)
def test_other_models_are_rejected(shapes):
    with pytest.raises(ValueError, match=f"layout: expected outputs of one of yolox, .*got {next(iter(shapes))}"):
        recognize_layout(shapes, (640, 640))


def test_wrong_layouts_are_rejected():
    placed = letterbox(np.zeros((64, 96, 3), np.uint8), SIZE, "corner")
    with pytest.raises(ValueError, match=rf"layout yolox: expected an output \(1, {CELLS}, 5 \+ C\), got \(1, 7, 20\)"):
        LAYOUTS["yolox"].decode({"x": np.zeros((1, 7, 20))}, placed)
    with pytest.raises(ValueError, match="layout detr: expected outputs"):
        LAYOUTS["detr"].decode({"x": np.zeros((1, 7, 20))}, placed)
