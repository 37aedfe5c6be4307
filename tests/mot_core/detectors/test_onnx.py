"""Detectors in ONNX files, on graphs that find a painted box; and files that are no detectors."""

import numpy as np
import pytest

from _helpers.painted_box import CELL, CELLS, CLASS, NUM_CLASSES, SIZE, paint
from mot_core.detectors import detect, load_detector
from mot_core.detectors.coco import COCO_CLASSES
from mot_core.detectors.layouts import LAYOUTS

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: nox -s tests_detectors")
onnx = pytest.importorskip("onnx", reason="onnx, which writes the test models, is not installed")

HEIGHT, WIDTH = SIZE
BOX = (20, 16, 56, 44)


class Graph:
    """An ONNX graph under construction."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def __call__(self, kind, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        inputs = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        self.nodes.append(onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def save(self, path, inputs, outputs, opset=18, names=None):
        def info(name, shape, kind=onnx.TensorProto.FLOAT):
            return onnx.helper.make_tensor_value_info(name, kind, shape)

        for inner, (outer, _) in outputs.items():
            self.nodes.append(onnx.helper.make_node("Identity", [inner], [outer]))
        graph = onnx.helper.make_graph(
            self.nodes, "box", [info(*one) for one in inputs], [info(*one) for one in outputs.values()], self.constants
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
        if names:
            onnx.helper.set_model_props(model, {"names": names})
        onnx.save(model, path)
        return path


def write_model(path, layout, *, size=(HEIGHT, WIDTH), **options):
    """Write a network of a layout that finds painted pixels with ONNX operators."""
    g, scale = Graph(), LAYOUTS[layout].scale
    red, blue = (
        g("Gather", "images", g.constant(at, np.int64), axis=1) for at in ((2, 0) if LAYOUTS[layout].is_bgr else (0, 2))
    )
    painted = g("And", g("Greater", red, 150 * scale), g("Less", blue, 80 * scale))
    mask = g("Cast", painted, to=onnx.TensorProto.FLOAT)  # (1, H, W)
    corners = []
    for axis, length in ((1, WIDTH), (2, HEIGHT)):
        line = g("ReduceMax", mask, g.constant([axis], np.int64), keepdims=0)
        end = g("ReduceMax", g("Mul", line, np.arange(1, length + 1)), g.constant([1], np.int64), keepdims=1)
        start = g("ReduceMax", g("Mul", line, np.arange(length, 0, -1)), g.constant([1], np.int64), keepdims=1)
        corners.append((g("Sub", float(length), start), end))
    (x1, x2), (y1, y2) = corners
    center = g("Mul", g("Concat", g("Add", x1, x2), g("Add", y1, y2), axis=1), 0.5)  # (1, 2)
    extent = g("Concat", g("Sub", x2, x1), g("Sub", y2, y1), axis=1)
    scores = np.full((1, NUM_CLASSES), 0.01)
    scores[0, CLASS] = 0.9
    inputs = [("images", [1, 3, *size])]
    if layout == "yolox":
        row = CELL[1] * (WIDTH // 8) + CELL[0]
        offset = g("Sub", g("Mul", center, 1 / 8), [CELL])
        values = g("Concat", offset, g("Log", g("Mul", extent, 1 / 8)), g.constant([[1.0]]), g.constant(scores), axis=1)
        pads = g.constant([0, row, 0, 0, CELLS - 1 - row, 0], np.int64)
        out = g("Pad", g("Unsqueeze", values, g.constant([1], np.int64)), pads)
        outputs = {out: ("output", [1, CELLS, 5 + NUM_CLASSES])}
    elif layout == "yolov8":
        values = g("Concat", center, extent, g.constant(scores), axis=1)
        pads = g.constant([0, 0, 5, 0, 0, CELLS - 6], np.int64)
        out = g("Pad", g("Unsqueeze", values, g.constant([2], np.int64)), pads)
        outputs = {out: ("output0", [1, 4 + NUM_CLASSES, CELLS])}
    elif layout == "detr":
        boxes = g(
            "Unsqueeze",
            g("Mul", g("Concat", center, extent, axis=1), [[1 / WIDTH, 1 / HEIGHT] * 2]),
            g.constant([1], np.int64),
        )
        logits = g("Identity", g.constant(np.log(scores / (1 - scores))[None]))
        outputs = {logits: ("logits", [1, 1, NUM_CLASSES]), boxes: ("pred_boxes", [1, 1, 4])}
    else:
        inputs.append(("orig_target_sizes", [1, 2], onnx.TensorProto.INT64))
        factor = g("Cast", "orig_target_sizes", to=onnx.TensorProto.FLOAT)
        fraction = g("Mul", g("Concat", x1, y1, x2, y2, axis=1), [[1 / WIDTH, 1 / HEIGHT] * 2])
        boxes = g("Unsqueeze", g("Mul", fraction, g("Concat", factor, factor, axis=1)), g.constant([1], np.int64))
        labels, certain = g("Identity", g.constant([[CLASS]])), g("Identity", g.constant([[0.9]]))
        outputs = {labels: ("labels", [1, 1]), boxes: ("boxes", [1, 1, 4]), certain: ("scores", [1, 1])}
    return g.save(path, inputs, outputs, **options)


@pytest.mark.parametrize("layout", [*LAYOUTS])
@pytest.mark.parametrize("size", [(64, 96), (122, 206)], ids=str)
def test_a_painted_box_comes_back(tmp_path, layout, size):
    detector = load_detector(f"onnx:{write_model(tmp_path / 'model.onnx', layout)}")
    box = (np.array(BOX) * np.array([size[1] / 96, size[0] / 64] * 2)).round().astype(int)
    found = detect(detector, paint(size, box))
    assert found.classes.tolist() == [CLASS]
    assert found.scores == pytest.approx([0.9], rel=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy[0], box, atol=1.01 * size[0] / HEIGHT)


def test_names_of_classes(tmp_path):
    named = write_model(tmp_path / "named.onnx", "yolov8", names="{0: 'cup', 1: 'fork', 2: 'knife'}")
    assert load_detector(f"onnx:{named}").class_names == {0: "cup", 1: "fork", 2: "knife"}
    assert load_detector(f"onnx:{write_model(tmp_path / 'bare.onnx', 'yolov8')}").class_names == {}
    assert (len(COCO_CLASSES), COCO_CLASSES[0], COCO_CLASSES[79]) == (80, "person", "toothbrush")


def test_inputs_of_any_size_are_640(tmp_path):
    detector = load_detector(f"onnx:{write_model(tmp_path / 'any.onnx', 'detr', size=('height', 'width'))}")
    assert detector.size == (640, 640)


def test_files_that_are_no_detectors(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(
        ValueError, match=r"broken\.onnx: expected a model that ONNX Runtime .* can run, got .*Protobuf"
    ):
        load_detector(f"onnx:{broken}")
    with pytest.raises(ValueError, match=r"future\.onnx: expected a model that ONNX Runtime .*export it again with an"):
        load_detector(f"onnx:{write_model(tmp_path / 'future.onnx', 'detr', opset=99)}")
    with pytest.raises(ValueError, match=r"detr\.onnx: expected outputs of layout yolox, got logits .*choose another"):
        detect(load_detector(f"onnx:{write_model(tmp_path / 'detr.onnx', 'detr')}", layout="yolox"), paint(SIZE, BOX))
    with pytest.raises(ValueError, match="layout: expected one of yolox, yolov8, detr, boxes, got 'yolo'"):
        load_detector(f"onnx:{tmp_path / 'detr.onnx'}", layout="yolo")
    flat = Graph()
    flat.save(tmp_path / "flat.onnx", [("x", [1, 7])], {flat("Mul", "x", 2.0): ("y", [1, 7])})
    with pytest.raises(ValueError, match=r"flat\.onnx: expected an input \(1, 3, H, W\) .*got x \[1, 7\]"):
        load_detector(f"onnx:{tmp_path / 'flat.onnx'}")
    image = Graph()
    image.save(tmp_path / "same.onnx", [("x", [1, 3, *SIZE])], {image("Mul", "x", 2.0): ("y", [1, 3, *SIZE])})
    with pytest.raises(ValueError, match=r"same\.onnx: layout: expected outputs of one of .*got y \(1, 3, 64, 96\)"):
        load_detector(f"onnx:{tmp_path / 'same.onnx'}")
