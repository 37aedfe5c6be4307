"""Detections and tracks of a frame: lengths, rows, and conversion between arrays and tensors."""

import dataclasses

import numpy as np
import pytest
import torch

from mot_core.structures import Detections, Tracks, to_numpy


def example():
    return Tracks(
        ids=np.array([3, 1, 7]),
        boxes_xyxy=np.arange(12.0).reshape(3, 4),
        scores=np.array([0.5, 0.75, 1.0]),
        classes=np.array([0, 2, 2]),
        detection_index=np.array([4, 0, -1]),
    )


def assert_same(a, b):
    for field in dataclasses.fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        (np.array([True, False, True]), [3, 7]),
        (np.array([2, 0]), [7, 3]),
        (slice(1, None), [1, 7]),
        ([1], [1]),
        (np.zeros(3, bool), []),
    ],
)
def test_row_selection(rows, ids):
    tracks = example()[rows]
    assert tracks.ids.tolist() == ids
    assert len(tracks) == len(ids)
    whole = example()
    for id, box, score, label, index in zip(
        tracks.ids, tracks.boxes_xyxy, tracks.scores, tracks.classes, tracks.detection_index, strict=True
    ):
        row = whole.ids.tolist().index(id)
        np.testing.assert_array_equal(box, whole.boxes_xyxy[row])
        assert (score, label, index) == (whole.scores[row], whole.classes[row], whole.detection_index[row])


def test_detections_with_and_without_classes():
    detections = Detections(np.arange(8.0).reshape(2, 4), np.array([0.2, 0.4]), np.array([5, 6]))
    assert len(detections) == 2
    assert detections[[1]].classes.tolist() == [6]
    assert detections[[1]].boxes_xyxy.tolist() == [[4, 5, 6, 7]]
    plain = Detections(torch.zeros(3, 4), torch.ones(3))
    assert plain[:2].classes is None
    assert len(plain[torch.tensor([False, True, True])]) == 2


@pytest.mark.parametrize("form", [np.asarray, torch.tensor])
def test_default_classes_and_rows(form):
    tracks = Tracks(form([3, 4]), form([[0.0] * 4] * 2), form([0.5, 0.5]))
    for name, value in (("classes", 0), ("detection_index", -1)):
        field = getattr(tracks, name)
        assert type(field) is type(tracks.ids)
        assert field.tolist() == [value, value]
        assert str(field.dtype).endswith("int64")


def test_empty():
    tracks = Tracks.empty()
    assert len(tracks) == 0
    assert tracks.boxes_xyxy.shape == (0, 4)
    assert {str(getattr(tracks, name).dtype) for name in ("ids", "classes", "detection_index")} == {"int64"}
    assert len(tracks[np.zeros(0, int)]) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_array_tensor_round_trip(dtype):
    like = torch.zeros(1, dtype=dtype)
    tensors = example().torch(like)
    assert tensors.boxes_xyxy.dtype == tensors.scores.dtype == dtype
    assert tensors.ids.dtype == tensors.classes.dtype == tensors.detection_index.dtype == torch.int64
    assert_same(tensors.numpy(), example())  # these values are exact in every precision
    assert_same(tensors.numpy().numpy(), example())


def test_torch_keeps_dtype():
    assert example().torch().boxes_xyxy.dtype == torch.float64


def test_frames_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        example().ids = np.zeros(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Detections(np.zeros((0, 4)), np.zeros(0)).scores = np.ones(1)


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, 4]],
        ((1, 2), (3, 4)),
        np.array([[1, 2], [3, 4]]),
        torch.tensor([[1, 2], [3, 4]]),
        torch.tensor([[1.0, 2], [3, 4]], requires_grad=True),
        torch.tensor([[1, 2], [3, 4]], dtype=torch.bfloat16),
        torch.tensor([[1, 3], [2, 4]]).T,
    ],
    ids=["list", "tuple", "array", "tensor", "gradient", "bfloat16", "view"],
)
def test_to_numpy(value):
    array = to_numpy(value)
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [[1, 2], [3, 4]]
