"""Synthetic scenes: repeatable, plausible, and difficult in the documented ways."""

import hashlib

import numpy as np
import pytest

from mot_core.boxes import iou, pairwise_iou
from mot_core.io import find_sequences, make_scene


@pytest.fixture(scope="module")
def scene():
    return make_scene(seed=3, num_objects=20, num_frames=300)


def matched(scene):
    """Return for each detection the best overlap with the truth of its frame and the row there, -1 for clutter."""
    truth, found = scene.ground_truth, scene.detections
    overlaps, rows = np.zeros(len(found)), np.full(len(found), -1)
    for frame in range(1, scene.num_frames + 1):
        t, f = truth.frame(frame), found.frame(frame)
        if t.stop > t.start and f.stop > f.start:
            pairs = pairwise_iou(found.boxes_xyxy[f], truth.boxes_xyxy[t])
            overlaps[f], rows[f] = pairs.max(1), pairs.argmax(1) + t.start
    rows[overlaps < 0.3] = -1
    return overlaps, rows


def digest(scene):
    tables = (scene.ground_truth, scene.detections)
    columns = [c for t in tables for c in (t.frames, t.ids, t.boxes_xyxy * 100, t.scores * 1000, t.visibility * 1000)]
    return hashlib.sha256(b"".join(np.rint(c).astype("<i8").tobytes() for c in columns)).hexdigest()[:16]


def test_seed_determines_scene():
    assert digest(make_scene(5, 8, 50)) == digest(make_scene(5, 8, 50))
    assert digest(make_scene(5, 8, 50)) != digest(make_scene(6, 8, 50))


def test_scene_is_platform_independent():
    assert digest(make_scene(seed=7, num_objects=12, num_frames=80)) == "6c3cf90e9567b0c6"


def test_save_read_round_trip(tmp_path, scene):
    scene.save(tmp_path / "scenes", "crossing")
    (sequence,) = find_sequences(tmp_path / "scenes", benchmark="generic")
    assert (sequence.name, sequence.length, sequence.frame_rate, sequence.image_size) == (
        "crossing",
        300,
        30,
        (1080, 1920),
    )
    for read, made in ((sequence.ground_truth(), scene.ground_truth), (sequence.detections(), scene.detections)):
        assert np.allclose(read.boxes_xyxy, made.boxes_xyxy, rtol=0, atol=1e-9)
        for column in ("frames", "ids", "scores", "visibility"):
            assert getattr(read, column).tolist() == getattr(made, column).tolist(), column


def test_number_of_people(scene):
    counts = np.bincount(scene.ground_truth.frames, minlength=301)[1:]
    assert 18 <= counts.mean() <= 20
    assert len(np.unique(scene.ground_truth.ids)) > 22, "people leave and are replaced"
    per_frame = len(scene.detections) / scene.num_frames
    assert 0.75 * 20 <= per_frame <= 20


def test_smooth_motion(scene):
    truth = scene.ground_truth
    order = np.lexsort((truth.frames, truth.ids))
    ids, frames, boxes = truth.ids[order], truth.frames[order], truth.boxes_xyxy[order]
    follows = (ids[1:] == ids[:-1]) & (frames[1:] == frames[:-1] + 1)
    assert follows.mean() > 0.97
    assert np.quantile(iou(boxes[1:], boxes[:-1])[follows], 0.001) > 0.6
    moved = abs(np.diff(boxes[:, 0])[follows])
    assert moved.mean() > 1


def test_crossings(scene):
    truth = scene.ground_truth
    assert 0.05 < (truth.visibility < 0.5).mean() < 0.4
    assert len(np.unique(truth.ids[truth.visibility < 0.1])) >= 5


def test_occluded_people_are_missed_or_weak(scene):
    overlaps, rows = matched(scene)
    truth, found = scene.ground_truth, scene.detections
    seen = np.isin(np.arange(len(truth)), rows)
    assert seen[truth.visibility > 0.9].mean() > 0.9
    assert seen[truth.visibility < 0.1].mean() < 0.5  # some are behind a visible person
    visible = truth.visibility[rows]
    true = rows >= 0
    assert found.scores[true & (visible > 0.8)].mean() > 0.85
    assert found.scores[true & (visible < 0.5)].mean() < 0.6
    assert np.median(overlaps[true & (visible > 0.8)]) > 0.85


def test_weak_detections_are_useful(scene):
    """The premise of ByteTrack: most weak detections are people, and there are enough of them."""
    _, rows = matched(scene)
    weak = (scene.detections.scores < 0.6) & (scene.detections.scores >= 0.1)
    assert weak.mean() > 0.05
    assert (rows[weak] >= 0).mean() > 0.5


def test_misses_occur_in_series():
    scene = make_scene(seed=1, num_objects=4, num_frames=2000, miss_rate=0.0, clutter=0.0)
    _, rows = matched(scene)
    truth = scene.ground_truth
    seen = np.isin(np.arange(len(truth)), rows)
    lengths = []
    for identity in np.unique(truth.ids):
        mine = truth.ids == identity
        missed = (~seen & (truth.visibility > 0.95))[mine].astype(int)
        edges = np.flatnonzero(np.diff(np.r_[0, missed, 0]))
        lengths += (edges[1::2] - edges[::2]).tolist()
    assert len(lengths) > 10
    assert 5 < np.mean(lengths) < 12


def test_detector_settings():
    perfect = make_scene(seed=2, num_objects=5, num_frames=100, miss_rate=0.0, clutter=0.0, box_noise=0.0)
    overlaps, rows = matched(perfect)
    assert (rows >= 0).all()
    assert overlaps.min() > 0.999
    blind = make_scene(seed=2, num_objects=5, num_frames=100, miss_rate=1.0, clutter=0.0)
    assert len(blind.detections) == 0
    noise = make_scene(seed=2, num_objects=5, num_frames=100, miss_rate=1.0, clutter=2.0)
    assert 8 < len(noise.detections) / 100 < 12


def test_empty_and_small_scenes():
    assert len(make_scene(num_objects=0, num_frames=10).ground_truth) == 0
    one = make_scene(num_objects=1, num_frames=1)
    assert one.ground_truth.frames.tolist() == [1]
    assert len(make_scene(num_objects=30, num_frames=30, image_size=(480, 200), frame_rate=5).ground_truth) > 300


def test_higher_camera_reduces_occlusion():
    low, high = (make_scene(seed=4, num_objects=60, num_frames=60, camera_height=h) for h in (3.5, 7.0))
    assert high.ground_truth.visibility.mean() > low.ground_truth.visibility.mean() + 0.1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_objects": -1}, "num_objects >= 0 and num_frames >= 1, got -1 and 300"),
        ({"num_frames": 0}, "got 20 and 0"),
        ({"image_size": (10, 640)}, r"at least 32 pixels, got \(10, 640\)"),
        ({"frame_rate": 0}, "frame_rate must be between 1 and 1000, got 0"),
        ({"miss_rate": 1.5}, "miss_rate must be between 0 and 1, got 1.5"),
        ({"clutter": float("nan")}, "clutter must be between 0 and 100, got nan"),
        ({"camera_height": 1}, "camera_height must be between"),
        ({"box_noise": -0.1}, "box_noise must be between"),
    ],
)
def test_invalid_settings_are_rejected(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_scene(**options)
