"""The replaceable association cost: its arguments and its effect."""

import re

import numpy as np
import pytest
import torch

from _helpers.crossing_scenes import make_frames
from mot_core.association import ByteTrack, DetectionBatch, OCSort, Sort, TrackBatch, iou_cost, pixel_iou_cost
from mot_core.association.costs import overlap_matrix
from mot_core.boxes import pairwise_iou

TRACKERS = [Sort, ByteTrack, OCSort]
every_tracker = pytest.mark.parametrize("tracker_type", TRACKERS)


class Appearance:
    """Cost 0 for the same color and 1 for another, regardless of boxes; the color of each track is stored by id."""

    def __init__(self):
        self.of_track = {}
        self.of_detection = []

    def __call__(self, tracks, detections):
        colors = np.array([self.of_track[id] for id in tracks.ids.tolist()])
        return (colors[:, None] != np.array(self.of_detection)[detections.index]).astype(float)


@every_tracker
def test_appearance_cost_overrides_position(tracker_type):
    """Three objects swap positions in every frame, in shuffled rows: only the color identifies them."""
    appearance = Appearance()
    tracker = tracker_type(cost=appearance)
    places = np.array([[0.0, 0, 40, 80], [300, 0, 340, 80], [0, 300, 40, 380]])
    rng = np.random.default_rng(0)
    colour_of_id = {}
    for number in range(20):
        appearance.of_detection = rng.permutation(3).tolist()
        tracks = tracker.update(places[rng.permutation(3)], [0.9, 0.9, 0.9])
        colors = [appearance.of_detection[row] for row in tracks.detection_index]
        appearance.of_track.update(zip(tracks.ids.tolist(), colors, strict=True))
        if number == 0:
            colour_of_id = dict(appearance.of_track)
        assert {id: appearance.of_track[id] for id in tracks.ids.tolist()} == {
            id: colour_of_id[id] for id in tracks.ids.tolist()
        }
        if number > 5:
            assert sorted(tracks.ids.tolist()) == [1, 2, 3]


@every_tracker
def test_cost_arguments(tracker_type):
    frame, last_row, calls = None, {}, 0

    def spy(tracks, detections):
        nonlocal calls
        calls += 1
        boxes, scores, classes = frame
        assert isinstance(tracks, TrackBatch)
        assert isinstance(detections, DetectionBatch)
        n, m = len(tracks.ids), len(detections.index)
        assert tracks.boxes_xyxy.shape == (n, 4)
        assert tracks.scores.shape == tracks.classes.shape == tracks.elapsed.shape == (n,)
        assert len(set(tracks.ids.tolist())) == n
        assert (tracks.elapsed >= 1).all()
        assert detections.boxes_xyxy.shape == (m, 4)
        np.testing.assert_array_equal(detections.boxes_xyxy, boxes[detections.index])
        np.testing.assert_array_equal(detections.scores, scores[detections.index])
        np.testing.assert_array_equal(detections.classes, classes[detections.index])
        rows = zip(tracks.ids.tolist(), tracks.scores, tracks.classes, tracks.elapsed, strict=True)
        for id, score, label, elapsed in rows:
            if id in last_row and elapsed == 1:
                assert last_row[id] == (score, label)
        return iou_cost(tracks, detections)

    tracker, plain = tracker_type(cost=spy), tracker_type()
    for frame in make_frames(4, num_objects=10, num_classes=2):
        tracks, same = tracker.update(*frame), plain.update(*frame)
        np.testing.assert_array_equal(tracks.ids, same.ids)
        rows = zip(tracks.ids.tolist(), tracks.scores, tracks.classes, strict=True)
        last_row = {id: (score, label) for id, score, label in rows}
    assert calls == 39  # once per frame regardless of the stages; the first frame has no tracks


@every_tracker
def test_cost_tensor_of_any_precision(tracker_type):
    """Learned costs are tensors."""

    def learned(tracks, detections):
        return torch.tensor(iou_cost(tracks, detections), dtype=torch.float32, requires_grad=True)

    tracker, plain = tracker_type(cost=learned), tracker_type()
    for frame in make_frames(4, num_objects=10, num_classes=2):
        np.testing.assert_array_equal(tracker.update(*frame).ids, plain.update(*frame).ids)


@every_tracker
@pytest.mark.parametrize("wrong", [lambda t, d: iou_cost(t, d).T, lambda t, d: iou_cost(t, d)[:, :1], lambda t, d: 0.5])
def test_cost_of_wrong_shape_is_rejected_without_state_change(tracker_type, wrong):
    tracker, twin = tracker_type(), tracker_type()
    frames = make_frames(0, num_objects=6, num_frames=12, weak=0, clutter=0, miss=0)
    for frame in frames[:5]:
        tracker.update(*frame)
        twin.update(*frame)
    tracker.cost = wrong
    boxes, scores, _ = frames[5]
    with pytest.raises(ValueError, match=re.escape("cost must return shape (") + r".*\(tracks, detections\), got"):
        tracker.update(boxes[:3], scores[:3] * 0 + 0.9)
    tracker.cost = iou_cost
    for frame in frames[5:]:
        tracks, other = tracker.update(*frame), twin.update(*frame)
        np.testing.assert_array_equal(tracks.ids, other.ids)
        np.testing.assert_array_equal(tracks.boxes_xyxy, other.boxes_xyxy)


@every_tracker
def test_failing_cost_does_not_change_state(tracker_type):
    tracker, twin = tracker_type(), tracker_type()
    frames = make_frames(1, num_frames=20)

    def fails(tracks, detections):
        raise KeyboardInterrupt

    for number, frame in enumerate(frames):
        if number == 10:
            tracker.cost = fails
            with pytest.raises(KeyboardInterrupt):
                tracker.update(*frame)
            tracker.cost = iou_cost
        tracks, other = tracker.update(*frame), twin.update(*frame)
        np.testing.assert_array_equal(tracks.ids, other.ids)
        np.testing.assert_array_equal(tracks.boxes_xyxy, other.boxes_xyxy)


@every_tracker
@pytest.mark.parametrize("forbidden", [1.0, np.inf])
def test_forbidden_pairs_are_never_matched(tracker_type, forbidden):
    tracker = tracker_type(cost=lambda tracks, detections: np.full((len(tracks.ids), len(detections.index)), forbidden))
    for number in range(5):
        tracks = tracker.update([[0, 0, 40, 80]], [0.9])
        if tracker_type is Sort:
            assert tracks.ids.tolist() == ([number + 1] if number < 3 else [])
        elif tracker_type is ByteTrack:
            assert tracks.ids.tolist() == ([1] if number == 0 else [])
        else:  # the last detection itself is matched without the cost
            assert tracks.ids.tolist() == [1]


def random_batch(rng, count):
    corner = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 40, (count, 2))], 1)
    numbers = np.arange(count)
    return boxes, numbers


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0), (1, 1), (7, 5)])
def test_overlaps_equal_pairwise_iou(n, m):
    rng = np.random.default_rng(n + m)
    (a, numbers_a), (b, numbers_b) = random_batch(rng, n), random_batch(rng, m)
    tracks = TrackBatch(numbers_a, a, numbers_a, numbers_a, numbers_a, numbers_a)
    detections = DetectionBatch(b, numbers_b, numbers_b, numbers_b)
    np.testing.assert_allclose(overlap_matrix(a.T, b.T), pairwise_iou(a, b), atol=1e-12)
    np.testing.assert_allclose(iou_cost(tracks, detections), 1 - pairwise_iou(a, b), atol=1e-12)
    wider = np.array([0.0, 0, 1, 1])
    np.testing.assert_allclose(pixel_iou_cost(tracks, detections), 1 - pairwise_iou(a + wider, b + wider), atol=1e-12)
