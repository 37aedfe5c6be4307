"""Streams, saved states, constructor values and presets."""

import inspect
import json
import re
from io import BytesIO

import numpy as np
import pytest
import torch

from _helpers.crossing_scenes import make_frames
from mot_core.association import BoTSort, ByteTrack, CBIoU, MotionNoise, OCSort, Preset, Sort, pixel_iou_cost
from mot_core.association.kalman import SORT_NOISE
from mot_core.structures import Detections

TRACKERS = [Sort, ByteTrack, OCSort, BoTSort, CBIoU]
PRESETS = [(tracker, name) for tracker in TRACKERS for name in tracker.PRESETS]
every_preset = pytest.mark.parametrize(("tracker_type", "preset"), PRESETS, ids=lambda v: getattr(v, "__name__", v))


def assert_equal_tracks(a, b):
    for name in ("ids", "boxes_xyxy", "scores", "classes", "detection_index"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def through_a_file(state):
    file = BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_preset
def test_streams_equal_separate_trackers(tracker_type, preset):
    """Streams have different lengths and pauses; one starts late."""
    videos = {"north": make_frames(1), "south": make_frames(2, num_objects=3), 7: make_frames(3, num_classes=2)}
    together = tracker_type.preset(preset)
    apart = {name: tracker_type.preset(preset) for name in videos}
    rng = np.random.default_rng(0)
    position = dict.fromkeys(videos, 0)
    seen = 0
    for turn in range(60):
        now = [name for name in videos if rng.random() < 0.7 and position[name] < 40 and (name != 7 or turn > 10)]
        frames = {name: videos[name][position[name]] for name in now}
        results = together.update_streams({name: Detections(*frame) for name, frame in frames.items()})
        assert list(results) == now
        for name, tracks in results.items():
            assert_equal_tracks(tracks, apart[name].update(*frames[name]))
            position[name] += 1
            seen += len(tracks)
    assert seen > 100


def test_clock_per_stream():
    tracker = Sort()
    frame = Detections(np.array([[0.0, 0, 40, 80]]), np.array([0.9]))
    tracker.update_streams({"a": frame, "b": frame}, {"a": 100.0, "b": 3.0})
    tracker.update_streams({"a": frame}, {"a": 100.1})
    assert tracker.update_streams({"b": frame}, {"b": 3.1})["b"].ids.tolist() == [1]
    with pytest.raises(ValueError, match=re.escape("got 100.1 after 100.1")):
        tracker.update_streams({"a": frame}, {"a": 100.1})


def test_update_is_separate_from_streams():
    tracker = ByteTrack()
    frame = np.array([[0.0, 0, 40, 80]]), np.array([0.9])
    tracker.update(*frame)
    tracks = tracker.update_streams({"camera": Detections(*frame)})["camera"]
    assert tracks.ids.tolist() == [1]  # first frame of its own stream


@every_preset
@pytest.mark.parametrize("timed", [False, True], ids=["frames", "timestamps"])
def test_saved_state_resumes_bit_identically(tracker_type, preset, timed):
    frames = make_frames(4, num_objects=12, num_frames=50, num_classes=2)
    times = [4.0 + 0.05 * number if timed else None for number in range(50)]
    first = tracker_type.preset(preset)
    for frame, time in zip(frames[:20], times, strict=False):
        first.update(*frame, timestamp=time)
    state = through_a_file(first.state_dict())
    second = tracker_type.preset(preset)
    second.update(*frames[0])  # this state is replaced
    second.load_state_dict(state)
    for frame, time in zip(frames[20:], times[20:], strict=True):
        assert_equal_tracks(first.update(*frame, timestamp=time), second.update(*frame, timestamp=time))


@pytest.mark.parametrize("tracker_type", TRACKERS)
def test_state_copies_all_streams(tracker_type):
    tracker = tracker_type()
    videos = {"a": make_frames(1), "b": make_frames(2)}
    for number in range(10):
        tracker.update_streams({name: Detections(*video[number]) for name, video in videos.items()})
    state = tracker.state_dict()
    copy = through_a_file(state)
    twin = tracker_type()
    twin.load_state_dict(state)
    for number in range(10, 20):
        frames = {name: Detections(*video[number]) for name, video in videos.items()}
        results, others = tracker.update_streams(frames), twin.update_streams(frames)
        for name in videos:
            assert_equal_tracks(results[name], others[name])
    for name, saved in state["streams"].items():
        for key, value in saved.items():
            other = copy["streams"][name][key]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_state_of_empty_tracker():
    tracker = ByteTrack()
    tracker.load_state_dict(through_a_file(ByteTrack().state_dict()))
    assert tracker.update([[0, 0, 40, 80]], [0.9]).ids.tolist() == [1]


@pytest.mark.parametrize(
    ("saved", "other", "sentence"),
    [
        (Sort(), ByteTrack(), "expected state_dict() of ByteTrack, got that of 'Sort'"),
        (ByteTrack(), OCSort(), "expected state_dict() of OCSort, got that of 'ByteTrack'"),
        (OCSort(), Sort(), "expected state_dict() of Sort, got that of 'OCSort'"),
        (OCSort(delta_t=2), OCSort(delta_t=3), "saved with other parameters"),
    ],
)
def test_state_of_other_tracker_is_rejected_without_state_change(saved, other, sentence):
    saved.update([[0, 0, 40, 80]], [0.9])
    other.update([[0, 0, 40, 80], [90, 0, 130, 80]], [0.9, 0.8])
    with pytest.raises(ValueError, match=re.escape(sentence)):
        other.load_state_dict(saved.state_dict())
    assert len(other.update([[0, 0, 40, 80], [90, 0, 130, 80]], [0.9, 0.8])) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s, t: s.clear(), "expected state_dict() of Sort, got that of None"),
        (lambda s, t: s.update(streams=3), "streams: expected a mapping, got int"),
        (lambda s, t: s["streams"].update({0: None}), "stream 0: values: expected a matrix of float64, got NoneType"),
        (lambda s, t: t.pop("labels"), "stream 0: labels: expected a matrix of int64, got NoneType"),
        (lambda s, t: t.update(values=t["values"].float()), "expected a matrix of float64, got torch.float32"),
        (lambda s, t: t.update(values=t["values"][0]), "expected a matrix of float64, got torch.float64 (1,)"),
        (lambda s, t: t["values"].fill_(torch.nan), "values: expected finite numbers, got NaN or infinity"),
        (lambda s, t: t.update(labels=t["labels"][:, :0]), "expected as many tracks in all arrays, got [0, 1]"),
        (lambda s, t: t.update(next_id="2"), "next_id: expected a finite int, got '2'"),
        (lambda s, t: t.update(step=1.5), "step: expected a finite int, got 1.5"),
        (lambda s, t: t.update(clock=float("inf")), "clock: expected a finite float, got inf"),
        (lambda s, t: t.update(timestamp="now"), "timestamp: expected a finite float, got 'now'"),
    ],
)
def test_invalid_state_dict_is_rejected(change, sentence):
    tracker = Sort()
    tracker.update([[0, 0, 40, 80]], [0.9])
    state = tracker.state_dict()
    change(state, state["streams"][0])
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Sort().load_state_dict(state)


def test_state_that_is_no_mapping_is_rejected():
    with pytest.raises(ValueError, match=re.escape("expected state_dict() of Sort, got that of list")):
        Sort().load_state_dict([])


@every_preset
def test_parameters_rebuild_the_tracker(tracker_type, preset):
    tracker = tracker_type.preset(preset)
    parameters = tracker.parameters()
    assert parameters.keys() == inspect.signature(tracker_type).parameters.keys()
    twin = tracker_type(**parameters)
    assert twin.parameters() == parameters
    for frame in make_frames(6, num_objects=12):
        assert_equal_tracks(tracker.update(*frame), twin.update(*frame))


def test_parameters_are_keyword_only():
    with pytest.raises(TypeError):
        ByteTrack(0.6)


@pytest.mark.parametrize("tracker_type", TRACKERS)
@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_invalid_frame_rate_is_rejected(tracker_type, rate):
    with pytest.raises(ValueError, match="frame_rate must be a positive"):
        tracker_type(frame_rate=rate)


def test_invalid_delta_t_is_rejected():
    with pytest.raises(ValueError, match="delta_t must be at least 1 frame, got 0"):
        OCSort(delta_t=0)


@pytest.mark.parametrize("tracker_type", TRACKERS)
def test_min_area_and_max_aspect_filter(tracker_type):
    boxes = [[0, 0, 40, 80], [100, 0, 110, 10], [200, 0, 300, 50], [400, 0, 480, 50], [500, 0, 510, 11]]
    assert tracker_type().update(boxes, [0.9] * 5).ids.tolist() == [1, 2, 3, 4, 5]
    kept = tracker_type(min_area=100.0, max_aspect=1.6).update(boxes, [0.9] * 5)
    assert kept.ids.tolist() == [1, 4, 5]  # 10 x 10 is not larger than 100, 80 / 50 not larger than 1.6
    assert kept.detection_index.tolist() == [0, 3, 4]


@pytest.mark.parametrize("tracker_type", [Sort, ByteTrack, OCSort, BoTSort])
def test_report_parameter(tracker_type):
    """Only the boxes differ: detections bit for bit, or estimates that lag behind an accelerating object."""
    by_detection, by_filter = tracker_type(), tracker_type(report="filter")
    for x in (0.0, 1.0, 4.0, 9.0, 16.0):
        box = [[x, 0.25, x + 40, 80]]
        detection, estimate = by_detection.update(box, [0.9]), by_filter.update(box, [0.9])
    assert detection.boxes_xyxy.tolist() == box
    assert detection.ids.tolist() == estimate.ids.tolist() == [1]
    assert 12 < estimate.boxes_xyxy[0, 0] < 16
    with pytest.raises(ValueError, match="report must be detection or filter, got 'box'"):
        tracker_type(report="box")


@pytest.mark.parametrize("tracker_type", TRACKERS)
def test_noise_parameter(tracker_type):
    """A filter without measurement noise reports the measurements."""
    pairs = ((0.0, 10.0),) * 4
    noise = MotionNoise(pairs, pairs, ((0.0, 1e-6),) * 4, pairs, pairs)
    tracker = tracker_type(noise=noise, report="filter")
    for x in (0.0, 7.0, 3.0, 11.0):
        tracks = tracker.update([[x, 0, x + 40, 80]], [0.9])
    np.testing.assert_allclose(tracks.boxes_xyxy, [[11, 0, 51, 80]], atol=1e-6)
    assert tracker_type().parameters()["noise"] == tracker_type().noise
    assert Sort().noise is SORT_NOISE


@pytest.mark.parametrize(
    ("tracker_type", "preset", "benchmark", "sequence", "expected"),
    [
        (ByteTrack, "official", "MOT17", "MOT17-05-FRCNN", {"max_age": 14, "fuse_score": True}),
        (ByteTrack, "official", "MOT17", "MOT17-13-SDP", {"max_age": 25}),
        (ByteTrack, "official", "MOT17", "MOT17-02-FRCNN", {"max_age": 30, "max_aspect": 1.6, "min_area": 100}),
        (ByteTrack, "official", None, None, {"max_age": 30, "cost": pixel_iou_cost, "official_quirks": True}),
        (ByteTrack, "official", "MOT20", "MOT20-01", {"fuse_score": False}),
        (ByteTrack, "default", "MOT17", "MOT17-05-FRCNN", {"max_age": 30, "official_quirks": False}),
        (Sort, "official", "MOT17", None, {"max_age": 1, "max_aspect": float("inf")}),
        (Sort, "official:maxage30", "DanceTrack", None, {"max_age": 30}),
        (OCSort, "official", "MOT17", None, {"use_byte": False, "max_aspect": 1.6, "min_area": 100}),
        (OCSort, "official", "DanceTrack", "dancetrack0004", {"max_aspect": float("inf"), "min_area": 100}),
        (OCSort, "official:byte", "DanceTrack", None, {"use_byte": True, "max_aspect": float("inf")}),
    ],
)
def test_presets_depend_on_benchmark_and_sequence(tracker_type, preset, benchmark, sequence, expected):
    parameters = tracker_type.preset(preset, benchmark=benchmark, sequence=sequence).parameters()
    assert {name: parameters[name] for name in expected} == expected


def test_official_presets_have_the_golden_parameters(mot_golden):
    golden = json.loads((mot_golden / "bytetrack_association.json").read_text())["parameters"]
    ours = {
        "bytetrack": (ByteTrack, "official"),
        "sort": (Sort, "official"),
        "sort_maxage30": (Sort, "official:maxage30"),
        "ocsort": (OCSort, "official"),
        "ocsort_byte": (OCSort, "official:byte"),
    }
    names = {
        "track_thresh": "track_threshold",
        "match_thresh": "max_cost",
        "track_buffer": "max_age",
        "min_box_area": "min_area",
        "low_score_floor": "low_threshold",
        "second_match_thresh": "max_cost_low",
        "unconfirmed_match_thresh": "max_cost_unconfirmed",
        "det_thresh": "score_threshold",
    }
    compared = 0
    for tag, (tracker_type, preset) in ours.items():
        parameters = tracker_type.preset(preset, "MOT17").parameters()
        for name, value in golden[tag].items():
            name = names.get(name, name)
            if name in parameters:
                assert parameters[name] == value, (tag, name)
                compared += 1
    assert compared > 25
    for sequence, values in golden["bytetrack"]["per_sequence"].items():
        tracker = ByteTrack.preset("official", "MOT17", sequence + "-FRCNN")
        assert tracker.max_age == values["track_buffer"]


def test_sequence_overrides_benchmark():
    preset = Preset({"a": 1, "b": 1, "c": 1}, benchmark={"X": {"b": 2, "c": 2}}, sequence={"X-1": {"c": 3}})
    assert preset.resolve("X", "X-1-det") == {"a": 1, "b": 2, "c": 3}
    assert preset.resolve("Y", None) == {"a": 1, "b": 1, "c": 1}


def test_unknown_preset_lists_choices():
    with pytest.raises(
        ValueError, match="Sort has no preset 'best'; choose one of default, official, official:maxage30"
    ):
        Sort.preset("best")
