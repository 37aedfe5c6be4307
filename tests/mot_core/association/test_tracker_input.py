"""Input of the trackers: accepted forms, rejected values, and the format of the output."""

import numpy as np
import pytest
import torch

from _helpers.crossing_scenes import make_frames
from mot_core.association import BoTSort, ByteTrack, CBIoU, OCSort, Sort
from mot_core.structures import Detections

TRACKERS = [Sort, ByteTrack, OCSort, BoTSort, CBIoU]
BOX, OTHER = [0.0, 0.0, 40.0, 80.0], [100.0, 0.0, 140.0, 80.0]
NAN, INF = float("nan"), float("inf")

# name: (boxes_xyxy, scores, classes, timestamp, part of the message)
REJECTED = {
    "nan box": ([BOX, [0, 0, NAN, 80]], [0.9, 0.9], None, None, "row 1"),
    "inf box": ([[0, 0, INF, 80], BOX], [0.9, 0.9], None, None, "row 0"),
    "minus inf to inf": ([BOX, [-INF, 0, INF, 80]], [0.9, 0.9], None, None, "row 1"),
    "all inf": ([[INF] * 4], [0.9], None, None, "finite"),
    "nan score": ([BOX, OTHER], [0.9, NAN], None, None, "row 1"),
    "inf score": ([BOX, OTHER], [0.9, -INF], None, None, "row 1"),
    "opposite infinities": ([[0, 0, INF, 80]], [-INF], None, None, "row 0"),
    "inverted box": ([BOX, [50, 0, 40, 80]], [0.9, 0.9], None, None, "row 1"),
    "upside down": ([[0, 80, 40, 0], BOX], [0.9, 0.9], None, None, "row 0"),
    "no area": ([BOX, OTHER, [5, 5, 5, 9]], [0.9] * 3, None, None, "row 2"),
    "left top width height": ([[300, 200, 40, 80]], [0.9], None, None, "ltwh_to_xyxy"),
    "five columns": ([[0, 0, 4, 8, 0.9]], [0.9], None, None, r"boxes_xyxy must have shape \(N, 4\), got \(1, 5\)"),
    "one flat box": (BOX, [0.9], None, None, r"boxes_xyxy must have shape \(N, 4\), got \(4,\)"),
    "a batch": ([[BOX]], [0.9], None, None, r"got \(1, 1, 4\)"),
    "too few scores": ([BOX, OTHER], [0.9], None, None, r"scores must have shape \(2,\).*got \(1,\)"),
    "scores without boxes": ([], [0.9], None, None, r"scores must have shape \(0,\)"),
    "score column": ([BOX], [[0.9]], None, None, r"scores must have shape \(1,\).*got \(1, 1\)"),
    "too few classes": ([BOX, OTHER], [0.9, 0.9], [1], None, r"classes must have shape \(2,\).*got \(1,\)"),
    "half a class": ([BOX], [0.9], [0.5], None, "classes must be integers"),
    "nan class": ([BOX], [0.9], [NAN], None, "classes must be integers"),
    "inf class": ([BOX], [0.9], [INF], None, "classes must be integers"),
    "huge class": ([BOX], [0.9], [1e30], None, "classes must be integers"),
    "named class": ([BOX], [0.9], ["car"], None, "classes must be integers"),
    "nan time": ([BOX], [0.9], None, NAN, "timestamp must"),
    "inf time": ([BOX], [0.9], None, INF, "timestamp must be a finite number"),
    "huge time": ([BOX], [0.9], None, 1e308, "timestamp must be a finite number of seconds, at most 1e.11, got 1e.308"),
    "nanosecond time": ([BOX], [0.9], None, 1.7e18, "timestamp must .*; convert units"),
    "same time": ([BOX], [0.9], None, 10.0, "timestamp must increase"),
    "time runs back": ([BOX], [0.9], None, 9.5, "timestamp must increase from frame to frame .*got 9.5 after 10.0"),
}


def warm(tracker):
    """Return the tracker after three frames, the last at 10 s."""
    for number in range(3):
        x = 5.0 * number
        boxes = np.array([BOX, OTHER]) + np.array([x, 0, x, 0])
        tracker.update(boxes, np.array([0.9, 0.8]), np.array([1, 2]), timestamp=10 + (number - 2) / 30)
    return tracker


def assert_equal_states(a, b):
    assert a.keys() == b.keys()
    for name, saved in a["streams"].items():
        for key, value in saved.items():
            other = b["streams"][name][key]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, key
    assert a["streams"].keys() == b["streams"].keys()


def assert_equal_tracks(a, b):
    for name in ("ids", "boxes_xyxy", "scores", "classes", "detection_index"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("tracker_type", TRACKERS)
@pytest.mark.parametrize("case", REJECTED)
def test_invalid_frame_is_rejected_without_state_change(tracker_type, case):
    boxes, scores, classes, timestamp, sentence = REJECTED[case]
    tracker = warm(tracker_type())
    before = tracker.state_dict()
    with pytest.raises(ValueError, match=sentence):
        tracker.update(boxes, scores, classes, timestamp)
    assert_equal_states(tracker.state_dict(), before)
    follow_up = (np.array([[15.0, 0, 55, 80]]), [0.9], [1], 10 + 1 / 30)
    assert_equal_tracks(tracker.update(*follow_up), warm(tracker_type()).update(*follow_up))


@pytest.mark.parametrize("tracker_type", TRACKERS)
@pytest.mark.parametrize("case", [name for name in REJECTED if "time" not in name])
def test_invalid_first_frame_starts_no_stream(tracker_type, case):
    boxes, scores, classes, _, sentence = REJECTED[case]
    tracker = tracker_type()
    with pytest.raises(ValueError, match=sentence):
        tracker.update_streams({"door": Detections(np.array(boxes, float), np.array(scores), classes)})
    assert not tracker.state_dict()["streams"]
    assert tracker.update([BOX], [0.9]).ids.tolist() == [1]


@pytest.mark.parametrize("tracker_type", TRACKERS)
@pytest.mark.parametrize("timestamps", [{"b": 5.0}, None], ids=["invalid time", "invalid box"])
def test_one_invalid_stream_rejects_the_whole_call(tracker_type, timestamps):
    """A rejected call advances none of its streams, so it can be fixed and repeated."""
    tracker = tracker_type()
    good = Detections(np.array([BOX]), np.array([0.9]))
    bad = good if timestamps else Detections(np.array([[3.0, 0, 2, 1]]), np.array([0.9]))
    tracker.update_streams({"a": good, "b": good}, {"b": 5.0})
    before = tracker.state_dict()
    with pytest.raises(ValueError, match="timestamp must increase" if timestamps else "row 0"):
        tracker.update_streams({"a": good, "b": bad}, timestamps)
    assert_equal_states(tracker.state_dict(), before)


@pytest.mark.parametrize("tracker_type", TRACKERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensor_input_gives_tensor_output(tracker_type, dtype):
    tensors, arrays = tracker_type(), tracker_type()
    for boxes, scores, classes in make_frames(0, num_frames=12, num_classes=2):
        given = torch.tensor(boxes).round().to(dtype)
        confidence = torch.tensor(scores).to(dtype)
        tracks = tensors.update(given, confidence, torch.tensor(classes))
        same = arrays.update(given.double().numpy(), confidence.double().numpy(), classes)
        assert tracks.boxes_xyxy.dtype == tracks.scores.dtype == dtype
        assert tracks.boxes_xyxy.shape == (len(tracks), 4)
        for name in ("ids", "classes", "detection_index"):
            value = getattr(tracks, name)
            assert value.dtype == torch.int64
            assert value.tolist() == getattr(same, name).tolist()
        assert {getattr(tracks, name).device for name in vars(tracks)} == {given.device}
        assert torch.equal(tracks.boxes_xyxy, torch.tensor(same.boxes_xyxy).to(dtype))
        assert torch.equal(tracks.scores, confidence[tracks.detection_index])


@pytest.mark.parametrize("tracker_type", TRACKERS)
def test_tensor_with_gradient_is_detached(tracker_type):
    boxes = torch.tensor([BOX], requires_grad=True)
    tracks = tracker_type().update(boxes, torch.ones(1, requires_grad=True))
    assert len(tracks) == 1
    assert not tracks.boxes_xyxy.requires_grad


@pytest.mark.parametrize("tracker_type", TRACKERS)
@pytest.mark.parametrize(
    "boxes",
    [[BOX], (tuple(BOX),), np.array([BOX], np.float32), np.array([BOX], np.int32), np.array([BOX, BOX]).T.copy().T[:1]],
    ids=["list", "tuple", "float32", "int32", "other memory order"],
)
def test_array_like_input(tracker_type, boxes):
    tracks = tracker_type().update(boxes, [0.9], [3])
    assert isinstance(tracks.boxes_xyxy, np.ndarray)
    assert tracks.boxes_xyxy.dtype == np.float64
    np.testing.assert_allclose(tracks.boxes_xyxy, [BOX])
    assert tracks.ids.tolist() == [1]
    assert tracks.classes.tolist() == [3]


@pytest.mark.parametrize("tracker_type", TRACKERS)
def test_integer_tensors_give_float_boxes(tracker_type):
    tracks = tracker_type().update(torch.tensor([[0, 0, 41, 80]]), torch.ones(1))
    assert tracks.boxes_xyxy.is_floating_point()
    np.testing.assert_allclose(tracks.boxes_xyxy.numpy(), [[0, 0, 41, 80]])


@pytest.mark.parametrize("tracker_type", TRACKERS)
@pytest.mark.parametrize(
    "nothing", [[], np.zeros((0, 4)), np.zeros(0), torch.zeros(0, 4), torch.zeros(0)], ids=lambda v: type(v).__name__
)
def test_empty_inputs_are_empty_frames(tracker_type, nothing):
    tracker = tracker_type()
    for _ in range(3):
        tracks = tracker.update(nothing, nothing if len(np.shape(nothing)) != 2 else nothing[:, 0])
        assert len(tracks) == 0
        assert tuple(tracks.boxes_xyxy.shape) == (0, 4)
        assert isinstance(tracks.boxes_xyxy, torch.Tensor) == isinstance(nothing, torch.Tensor)


@pytest.mark.parametrize("tracker_type", TRACKERS)
def test_input_is_not_modified_and_output_not_shared(tracker_type):
    tracker, twin = tracker_type(), tracker_type()
    for boxes, scores, classes in make_frames(2, num_frames=15, num_classes=2):
        given = boxes.copy(), scores.copy(), classes.copy()
        tracks, same = tracker.update(*given), twin.update(boxes, scores, classes)
        for array, original in zip(given, (boxes, scores, classes), strict=True):
            np.testing.assert_array_equal(array, original)
            array[:] = 0  # users may reuse the buffer
        assert_equal_tracks(tracks, same)
        for name in vars(tracks):
            getattr(tracks, name)[...] = 0  # and modify the output


@pytest.mark.parametrize("tracker_type", TRACKERS)
def test_huge_and_tiny_boxes(tracker_type):
    """Finite values with extreme areas and sums are tracked as well."""
    for scale in (1e-6, 1e6, 1e30):
        tracker = tracker_type(min_area=0.0)
        boxes = np.array([BOX, OTHER]) * scale
        for _ in range(6):
            tracks = tracker.update(boxes, [0.9, 0.9])
            assert np.isfinite(tracks.boxes_xyxy).all()
        assert tracks.ids.tolist() == [1, 2]
