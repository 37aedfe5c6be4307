"""NanoDet: weights in the layout of TensorFlow.js, the geometry of boxes, and invalid files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from _helpers.painted_box import paint
from mot_core.detectors import detect, load_detector
from mot_core.detectors.nanodet import MEAN_BGR, SIZE, STD_BGR, NanoDetDetector, cell_centers
from mot_core.nn.nanodet import NanoDet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return NanoDet().eval()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    """A TensorFlow.js model with random weights: half precision, other constants between them, out of order."""
    folder = tmp_path_factory.mktemp("nanodet")
    nodes, weights, data = [{"name": "input_1", "op": "Placeholder"}], [], b""

    def store(name, array, dtype):
        nonlocal data
        entry = {"name": name, "shape": list(array.shape), "dtype": "int32" if dtype == "<i4" else "float32"}
        weights.append(entry if dtype == "<i4" else entry | {"quantization": {"dtype": "float16"}})
        nodes.append({"name": name, "op": "Const"})
        data += array.astype(dtype).tobytes()

    for number, module in [*enumerate(network.convolutions())][::-1]:
        suffix = f"_{number}" if number else ""
        store(f"perm{suffix}", np.array([0, 2, 3, 1]), "<i4")
        store(f"split{suffix}", module.weight.detach().numpy().transpose(2, 3, 1, 0), "<f2")
        store(f"bias{suffix}", module.bias.detach().numpy(), "<f2")
        nodes.append({"name": f"x/convolution{suffix}", "op": "Conv2D", "input": ["input_1", f"split{suffix}"]})
        nodes.append({"name": f"x/Add{suffix}", "op": "Add", "input": [f"x/convolution{suffix}", f"bias{suffix}"]})
    manifest = [{"paths": ["a.bin", "b.bin"], "weights": weights}]
    (folder / "a.bin").write_bytes(data[:1000])
    (folder / "b.bin").write_bytes(data[1000:])
    content = {"modelTopology": {"node": nodes}, "weightsManifest": manifest}
    (folder / "nanodet.json").write_text(json.dumps(content))
    return folder / "nanodet.json"


def test_outputs_equal_those_of_the_stored_network(model, network):
    loaded = load_detector(f"nanodet:{model}").network.cpu()
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(loaded(image), network(image), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=5e-3)  # weights are stored in half precision
            assert theirs.std() > 0.01


def test_number_and_order_of_the_convolutions(network):
    shapes = [tuple(one.weight.shape) for one in network.convolutions()]
    assert len(shapes) == 34
    assert shapes[0] == (32, 3, 3, 3)
    assert shapes[25:28] == [(128, 128, 1, 1), (128, 256, 1, 1), (128, 512, 1, 1)]
    assert shapes[-1] == (124, 128, 1, 1)


class OneCell(torch.nn.Module):
    """A network that finds a box around one cell, in strides, and records its input."""

    def __init__(self, cell, label, distances):
        super().__init__()
        self.cell, self.label, self.distances = cell, label, distances

    def forward(self, images):
        self.given = images
        logits = torch.full((1, 3549, 80), -9.0)
        logits[0, self.cell, self.label] = 2.0
        return logits, torch.tensor(self.distances).expand(1, 3549, 4)


@pytest.mark.parametrize("size", [(200, 400), (400, 200), (416, 416)])
def test_a_painted_box_comes_back(model, size):
    detector = NanoDetDetector(model)
    height, width = size
    scale = 416 / max(size)
    left, top = round((416 - width * scale) / 2), round((416 - height * scale) / 2)
    box = np.array([0.3 * width, 0.3 * height, 0.6 * width, 0.7 * height])
    placed = box * scale + [left, top, left, top]
    centers, strides = cell_centers(SIZE)
    inside = np.flatnonzero(((centers > placed[:2]) & (centers < placed[2:])).all(1) & (strides[:, 0] == 32))[0]
    distances = np.concatenate([centers[inside] - placed[:2], placed[2:] - centers[inside]]) / 32
    detector.network = OneCell(inside, 2, distances.astype(np.float32).tolist()).to(detector.device)
    found = detect(detector, paint(size, tuple(box.astype(int))))
    np.testing.assert_allclose(found.boxes_xyxy, [box], atol=1e-3)
    assert found.classes.tolist() == [2]
    assert detector.class_names[2] == "car"
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-2)))


def test_the_input_is_blue_green_red_and_normalized(model):
    detector = NanoDetDetector(model)
    detector.network = OneCell(0, 0, [1.0, 1.0, 1.0, 1.0]).to(detector.device)
    detector([np.full((416, 416, 3), (255, 0, 51), np.uint8)])
    expected = (np.array([51, 0, 255]) - MEAN_BGR) / STD_BGR
    np.testing.assert_allclose(detector.network.given[0, :, 100, 100].cpu(), expected, rtol=1e-5)


def test_boxes_stay_in_the_image(model):
    detector = NanoDetDetector(model)
    detector.network = OneCell(0, 0, [9.0, 9.0, 9.0, 9.0]).to(detector.device)
    (found,) = detector([np.zeros((416, 416, 3), np.uint8)])
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 0, 76, 76]])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "expected the JSON file of a TensorFlow.js graph model, found none"),
        (lambda path: path.write_text("{"), "expected a TensorFlow.js graph model, got JSONDecodeError"),
        (lambda path: path.write_text('{"format": "layers-model"}'), "got KeyError: 'modelTopology'"),
        (lambda path: (path.parent / "b.bin").unlink(), "No such file or directory"),
        (lambda path: (path.parent / "b.bin").write_bytes(bytes(8)), "got ValueError: .*; copy the JSON file"),
        (
            lambda path: (path.parent / "b.bin").write_bytes((path.parent / "b.bin").read_bytes() + b"x"),
            r"got ValueError: \d+ bytes of weights instead of \d+",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('"Conv2D"', '"DepthwiseConv2d"', 1)),
            r"expected the 34 convolutions of NanoDet-g, got 33 with other shapes",
        ),
        (
            lambda path: path.write_text(path.read_text().replace("[3, 3, 3, 32]", "[3, 3, 32, 3]")),
            r"a convolution \(3, 3, 32, 3\) with a bias \(32,\)",
        ),
        (lambda path: path.write_text(path.read_text().replace("float16", "float8")), "ValueError: dtype float8"),
    ],
)
def test_invalid_files_are_one_sentence(model, tmp_path, damage, words):
    for file in model.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path / "nanodet.json")
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        load_detector(f"nanodet:{tmp_path / 'nanodet.json'}")
    assert "\n" not in str(caught.value)
