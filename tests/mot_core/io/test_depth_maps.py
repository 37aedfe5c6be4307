"""Depth maps on disk: formats, scale, unknown values, and what the check of a sequence says about them."""

import re

import numpy as np
import pytest

from mot_core.io import check
from mot_core.io.images import DepthFormat, depth_file, pillow, read_depth, read_depth_format

TABLE = np.array([[0, 100, 40000], [7, 8, 65535]])


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        pillow().fromarray(values).save(path)
    return path


def describe(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "depth.yaml").write_text(text)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", TABLE.astype(np.uint16)),
        ("a.npy", TABLE.astype(np.uint16)),
        ("a.npy", TABLE.astype(np.float64)),
        ("a.npy", TABLE.astype(np.int32)),
    ],
)
def test_values_are_scaled(tmp_path, name, values):
    describe(tmp_path, "kind: depth\nscale: 0.5\n")
    depth = read_depth(save(tmp_path / name, values))
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, TABLE / 2)


def test_maps_of_8_bits_need_no_description(tmp_path):
    values = np.array([[0, 7, 255]], np.uint8)
    np.testing.assert_array_equal(read_depth(save(tmp_path / "a.png", values)), values)
    assert read_depth_format(tmp_path) is None


def test_unknown_values(tmp_path):
    describe(tmp_path, "scale: 2\n")
    found = read_depth(save(tmp_path / "a.npy", np.array([[np.nan, 3.0]])))
    np.testing.assert_array_equal(found, [[np.nan, 6]])
    assert read_depth_format(tmp_path) == DepthFormat("disparity", 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[-1.0]]), "expected values of at least 0"),
        (np.array([[np.inf]]), "expected values of at least 0"),
        (np.zeros((2, 3, 3)), r"expected an array \(H, W\) of numbers, got \(2, 3, 3\)"),
        (np.array([["a"]]), r"expected an array \(H, W\) of numbers"),
        (np.array([[True]]), r"expected an array \(H, W\) of numbers"),
    ],
)
def test_invalid_arrays(tmp_path, values, message):
    describe(tmp_path, "scale: 1\n")
    with pytest.raises(ValueError, match=rf"depth map .*a\.npy: {message}"):
        read_depth(save(tmp_path / "a.npy", values))


def test_arrays_with_objects_or_without_content_are_rejected(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(b"")
    for name in ("a.npy", "b.npy"):
        with pytest.raises(ValueError, match=rf"{name}: expected a file of numpy\.save"):
            read_depth(tmp_path / name)


def test_missing_scale(tmp_path):
    path = save(tmp_path / "a.png", TABLE.astype(np.uint16))
    with pytest.raises(ValueError, match=r"a\.png: expected depth\.yaml in its folder, because .* no default scale"):
        read_depth(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: near\n", "kind: expected depth or disparity, got 'near'"),
        ("scale: 0\n", "scale: expected a positive number, got 0"),
        ("scale: .inf\n", "scale: expected a positive number, got inf"),
        ("scale: yes\n", "scale: expected a positive number, got True"),
        ("unit: m\n", "expected the keys kind and scale"),
        ("[1]\n", "expected the keys kind and scale"),
        ("scale: 1\nscale: 2\n", "2: expected each key once"),
    ],
)
def test_invalid_descriptions(tmp_path, text, message):
    describe(tmp_path, text)
    with pytest.raises(ValueError, match=rf"depth\.yaml: ?{message}|depth\.yaml:{message}"):
        read_depth_format(tmp_path)


def test_file_of_an_image(tmp_path):
    image = tmp_path / "img1" / "000001.jpg"
    assert depth_file(image) is None
    array = save(tmp_path / "depth" / "000001.npy", TABLE)
    assert depth_file(image) == array
    gray = save(tmp_path / "depth" / "000001.png", TABLE.astype(np.uint8))
    assert depth_file(image) == gray


@pytest.fixture
def sequence(tmp_path):
    folder = tmp_path / "data" / "street"
    (folder / "img1").mkdir(parents=True)
    (folder / "seqinfo.ini").write_text("[Sequence]\nname=street\nseqLength=3\nimWidth=4\nimHeight=2\nframeRate=10\n")
    for number in range(1, 4):
        save(folder / "img1" / f"{number:06d}.png", np.zeros((2, 4, 3), np.uint8))
        save(folder / "depth" / f"{number:06d}.png", np.full((2, 4), number, np.uint8))
    return folder


def problems(folder):
    found = check(folder.parent, benchmark="generic").problems
    return [(one.severity, str(one)) for one in found if one.kind == "depth"]


def test_check_of_a_sequence(sequence):
    assert problems(sequence) == []
    (sequence / "depth/000002.png").unlink()
    ((severity, words),) = problems(sequence)
    assert severity == "warning"
    assert re.search(r"depth: 1 of 3 images have no depth map, the first is 000002\.png; add it", words)
    save(sequence / "depth/000002.png", np.zeros((1, 4), np.uint8))
    ((severity, words),) = problems(sequence)
    assert severity == "error"
    assert "000002.png: the depth map is 4x1, unlike its image; resize the depth maps" in words
    (sequence / "depth/depth.yaml").write_text("scale: -1")
    ((severity, words),) = problems(sequence)
    assert severity == "error"
    assert "depth.yaml: scale: expected a positive number, got -1" in words
