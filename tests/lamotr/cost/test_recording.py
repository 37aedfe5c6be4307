"""Features and recorded associations of the learned cost."""

from dataclasses import replace

import numpy as np
import pytest

from _helpers.em_kalman_scenes import make_scene as make_walkers
from lamotr import record_associations
from lamotr.cost.features import association_features
from lamotr.cost.recording import detection_identities
from mot_core.association import ByteTrack, DetectionBatch, TrackBatch
from mot_core.boxes import pairwise_iou
from mot_core.io import BoxTable, find_sequences, make_scene


def batches(seed=0, tracks=3, detections=4):
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner = rng.uniform(0, 500, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(20, 90, (count, 2))], 1)

    ints = np.arange(tracks), np.arange(detections)
    return (
        TrackBatch(ints[0], boxes(tracks), rng.random(tracks), ints[0], rng.uniform(1, 9, tracks), ints[0],
                   rng.normal(0, 5, (tracks, 2))),
        DetectionBatch(boxes(detections), rng.random(detections), ints[1], ints[1]),
    )  # fmt: skip


def values(features):
    return np.concatenate([one.ravel() for one in vars(features).values()])


def test_features_do_not_depend_on_shift_and_zoom():
    tracks, detections = batches()
    wanted = association_features(tracks, detections)
    assert wanted.detections.shape == (4, 5)
    assert wanted.tracks.shape == (3, 8)
    moved = association_features(
        replace(tracks, boxes_xyxy=3 * tracks.boxes_xyxy + 70, velocities=3 * tracks.velocities),
        replace(detections, boxes_xyxy=3 * detections.boxes_xyxy + 70),
    )
    np.testing.assert_allclose(values(moved), values(wanted), atol=1e-5)


def test_values_of_a_pair():
    ones = np.ones(1)
    box, velocity = np.array([[0.0, 0, 40, 80]]), np.array([[8.0, -400.0]])
    tracks = TrackBatch(ones, box, ones * 0.5, ones, ones * np.e, ones, velocity)
    found = association_features(tracks, DetectionBatch(np.array([[40.0, 0, 80, 80]]), ones * 0.9, ones, ones))
    np.testing.assert_allclose(found.tracks, [[-20 / 80 / 4, 0, np.log(0.5), 0, 0.5, 0.1, -2, 1]], atol=1e-6)
    np.testing.assert_allclose(found.detections, [[20 / 80 / 4, 0, np.log(0.5), 0, 0.9]], atol=1e-6)
    np.testing.assert_allclose(found.detection_boxes_cxcywh, [[0.25, 0, 0.5, 1]])


def test_mirrored_features_are_those_of_the_mirrored_image():
    tracks, detections = batches()
    flip = [2, 1, 0, 3]
    signs = np.array([-1, 1, -1, 1])
    mirrored = association_features(
        replace(tracks, boxes_xyxy=(tracks.boxes_xyxy * signs)[:, flip], velocities=tracks.velocities * [-1, 1]),
        replace(detections, boxes_xyxy=(detections.boxes_xyxy * signs)[:, flip]),
    )
    np.testing.assert_allclose(values(association_features(tracks, detections).mirrored()), values(mirrored), atol=1e-5)


@pytest.mark.parametrize("sizes", [(0, 4), (3, 0), (0, 0)])
def test_empty_frames(sizes):
    found = association_features(*batches(0, *sizes))
    assert (found.tracks.shape, found.detections.shape) == ((sizes[0], 8), (sizes[1], 5))
    unknown = replace(batches()[0], velocities=None)
    assert not association_features(unknown, batches()[1]).tracks[:, 5:7].any()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = make_scene(num_objects=12, num_frames=60, clutter=0.15).save(tmp_path_factory.mktemp("scene"))
    (sequence,) = find_sequences(folder, benchmark="generic")
    return sequence


def test_targets_agree_with_the_ground_truth(scene):
    """Recomputed independently: a pair is true if the detection has an identity and the track last showed the same."""
    records = list(record_associations(scene, scene.detections()))
    truth, table = scene.ground_truth(), scene.detections()
    assert len(records) == 59
    wanted_pairs = total = 0
    for frame in scene.frame_numbers():
        now, before = (
            set(detection_identities(table.boxes_xyxy[table.frame(n)], truth, n).tolist()) - {-1}
            for n in (frame, frame - 1)
        )
        wanted_pairs += len(now & before)
        total += len(now)
    found = sum(int(record.target.sum()) for record in records)
    # Also objects that return after a gap; weak detections do not take part.
    assert 0.9 * wanted_pairs < found < 1.02 * total
    for record in records:
        shape = len(record.features.detections), len(record.features.tracks)
        assert record.target.shape == record.known.shape == shape
        assert not (record.target & ~record.known).any()
        assert record.target.sum(0).max(initial=0) <= 1  # detections of one frame have different identities
    assert any((~record.known).any() for record in records)  # false tracks and false detections
    # True pairs are near each other.
    distance = [
        np.abs(one.features.detection_boxes_cxcywh[i, :2] - one.features.track_boxes_cxcywh[j, :2]).max()
        for one in records
        for i, j in np.argwhere(one.target)
    ]
    assert np.quantile(distance, 0.95) < 0.5


@pytest.mark.parametrize("speed", [None, 60])
def test_the_recording_tracker_makes_no_identity_switch(scene, speed):
    """Every track of the oracle has one object, also at speeds at which boxes do not overlap from frame to frame."""
    from lamotr.cost import recording

    table, truth, frames = scene.detections(), scene.ground_truth(), scene.frame_numbers()
    if speed is not None:
        truth, found = make_walkers(0, speed)
        table, frames = found.table, found.frames
    oracle = recording._Oracle()
    tracker = ByteTrack(cost=oracle)
    of_track = {}
    for frame in frames:
        rows = table.frame(frame)
        boxes = table.boxes_xyxy[rows]
        identities = detection_identities(boxes, truth, frame)
        oracle.enter(boxes, identities)
        tracks = tracker.update(boxes, table.scores[rows])
        for number, row in zip(tracks.ids.tolist(), tracks.detection_index.tolist(), strict=True):
            of_track.setdefault(number, set()).add(int(identities[row]))
    assert all(len(found) == 1 for found in of_track.values())
    assert len(of_track) >= 8


def test_detection_identities_are_one_to_one():
    truth = BoxTable([1, 1], [7, 8], [[0, 0, 40, 80], [30, 0, 70, 80]])
    boxes = np.array([[2.0, 0, 42, 80], [4, 0, 44, 80], [300, 0, 340, 80]])
    found = detection_identities(boxes, truth, 1)
    assert sorted(found.tolist()) == [-1, -1, 7]
    assert found[0] == 7
    assert pairwise_iou(boxes[:1], truth.boxes_xyxy[:1]).item() > 0.5
    assert detection_identities(boxes[:0], truth, 1).tolist() == []
    assert detection_identities(boxes, truth, 2).tolist() == [-1] * 3
