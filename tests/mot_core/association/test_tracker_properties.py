"""Properties of every tracker that hold for arbitrary detections."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.crossing_scenes import make_frames
from mot_core.association import ByteTrack, OCSort, Sort

TRACKERS = {
    "sort": Sort,
    "bytetrack": ByteTrack,
    "ocsort": OCSort,
    "ocsort-byte": lambda: OCSort(use_byte=True),
    "sort-official": lambda: Sort.preset("official:maxage30"),
    "bytetrack-official": lambda: ByteTrack.preset("official"),
    "ocsort-official": lambda: OCSort.preset("official:byte", "DanceTrack"),
}
OURS = ["sort", "bytetrack", "ocsort", "ocsort-byte"]
every_tracker = pytest.mark.parametrize("name", TRACKERS)
our_trackers = pytest.mark.parametrize("name", OURS)


def run(name, frames):
    tracker = TRACKERS[name]()
    return [tracker.update(*frame) for frame in frames]


def same_ids(results, others, row_of_other=lambda frame, row: row):
    """Return the one-to-one map of identities between two runs, asserting that it exists."""
    there, back = {}, {}
    for frame, (tracks, other) in enumerate(zip(results, others, strict=True)):
        ids = dict(zip(tracks.detection_index.tolist(), tracks.ids.tolist(), strict=True))
        other_ids = dict(zip(other.detection_index.tolist(), other.ids.tolist(), strict=True))
        other_ids = {row_of_other(frame, row): id for row, id in other_ids.items()}
        assert ids.keys() == other_ids.keys(), frame
        for row, id in ids.items():
            assert there.setdefault(id, other_ids[row]) == other_ids[row], frame
            assert back.setdefault(other_ids[row], id) == id, frame
    return there


@every_tracker
@pytest.mark.parametrize("seed", range(2))
def test_permuted_detections_permute_rows_only(name, seed):
    """Boxes stay bit-identical. Identities are assigned in row order: only those of one frame may swap."""
    rng = np.random.default_rng(seed)
    frames = make_frames(seed, num_objects=12, num_classes=2)
    orders = [rng.permutation(len(scores)) for _, scores, _ in frames]
    shuffled = [tuple(part[order] for part in frame) for frame, order in zip(frames, orders, strict=True)]
    results, others = run(name, frames), run(name, shuffled)
    ids = same_ids(results, others, lambda frame, row: orders[frame][row])
    assert len(ids) > 5
    for tracks, other, order in zip(results, others, orders, strict=True):
        a, b = np.argsort(tracks.detection_index), np.argsort(order[other.detection_index])
        np.testing.assert_array_equal(tracks.boxes_xyxy[a], other.boxes_xyxy[b])
        np.testing.assert_array_equal(tracks.scores[a], other.scores[b])
        np.testing.assert_array_equal(tracks.classes[a], other.classes[b])


def assert_moved(name, results, others, move_back):
    """Results are equal after moving back; official SORT numbers simultaneous births by ties."""
    names = same_ids(results, others)
    assert "official" in name or all(id == other for id, other in names.items())
    for tracks, other in zip(results, others, strict=True):
        rows, other_rows = np.argsort(tracks.detection_index), np.argsort(other.detection_index)
        np.testing.assert_allclose(move_back(other.boxes_xyxy)[other_rows], tracks.boxes_xyxy[rows], atol=1e-6)


@every_tracker
@pytest.mark.parametrize(("dx", "dy"), [(512.0, -256.0), (-5000.0, 1e4), (0.123, 17.7)])
def test_translation_equivariance(name, dx, dy):
    frames, move = make_frames(5, num_objects=12), np.array([dx, dy, dx, dy])
    moved = [(boxes + move, scores, None) for boxes, scores, _ in frames]
    assert_moved(name, run(name, frames), run(name, moved), lambda boxes: boxes - move)


@every_tracker
def test_mirror_equivariance(name):
    def mirror(boxes):
        return boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]

    frames = make_frames(6, num_objects=12)
    mirrored = [(mirror(boxes), scores, None) for boxes, scores, _ in frames]
    assert_moved(name, run(name, frames), run(name, mirrored), mirror)


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_bytetrack_scale_equivariance(scale):
    """The noise of ByteTrack scales with the box. (The noise of SORT is in pixels.)"""
    frames = make_frames(7, num_objects=12)
    scaled = [(boxes * scale, scores, None) for boxes, scores, _ in frames]
    assert_moved("bytetrack", run("bytetrack", frames), run("bytetrack", scaled), lambda boxes: boxes / scale)


@every_tracker
def test_bitwise_determinism(name):
    frames = make_frames(8, num_objects=15, num_classes=2)
    for tracks, other in zip(run(name, frames), run(name, frames), strict=True):
        for field in vars(tracks):
            np.testing.assert_array_equal(getattr(tracks, field), getattr(other, field))


@every_tracker
def test_reset_equals_new_tracker(name):
    frames = make_frames(9)
    tracker = TRACKERS[name]()
    before = [tracker.update(*frame) for frame in frames]
    tracker.reset()
    after = [tracker.update(*frame) for frame in frames]
    for tracks, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(tracks.ids, other.ids)
        np.testing.assert_array_equal(tracks.boxes_xyxy, other.boxes_xyxy)


@our_trackers
@pytest.mark.parametrize("seed", range(3))
def test_classes_equal_separate_trackers(name, seed):
    frames = make_frames(seed, num_objects=15, num_classes=3, size=(250, 350))
    together = run(name, frames)
    lives = {}
    for tracks in together:
        for id, label in zip(tracks.ids.tolist(), tracks.classes.tolist(), strict=True):
            assert lives.setdefault(id, label) == label
    for label in range(3):
        rows = [np.flatnonzero(classes == label) for _, _, classes in frames]
        parts = [(boxes[r], scores[r]) for (boxes, scores, _), r in zip(frames, rows, strict=True)]
        same_ids([t[t.classes == label] for t in together], run(name, parts), lambda f, row, rows=rows: rows[f][row])


@every_tracker
def test_lost_track_survives_overlapping_track_of_other_class(name):
    car, truck = [[0.0, 0, 60, 50]], [[1.0, 0, 61, 50]]
    tracker = TRACKERS[name]()
    for _ in range(8):
        before = tracker.update(car, [0.9], [0])
    for _ in range(6):
        other = tracker.update(truck, [0.9], [1])
    for _ in range(5):
        after = tracker.update([*car, *truck], [0.9, 0.9], [0, 1])
    assert before.ids.tolist() == [1]
    assert other.ids.tolist() == [2]
    assert dict(zip(after.classes.tolist(), after.ids.tolist(), strict=True)) == {0: 1, 1: 2}


@pytest.mark.parametrize("name", ["bytetrack", "bytetrack-official"])
@pytest.mark.parametrize(("start", "survivor"), [(2, 2), (3, 1), (4, 1)])
def test_younger_of_two_duplicate_tracks_is_removed(name, start, survivor):
    """One object walks to where another was lost in frame 12, and covers most of it in frame 14."""
    tracker = TRACKERS[name]()
    for frame in range(1, 17):
        stays = [[300.0, 0, 340, 80]] if frame <= 12 else []
        x = 298.0 + 12 * (frame - 14)
        walks = [[x, 0, x + 40, 80]] if frame >= start else []
        tracks = tracker.update([*stays, *walks], [0.9] * len([*stays, *walks]))
        if frame == 13:
            assert tracks.ids.tolist() == [2]
    assert tracks.ids.tolist() == [survivor]


@every_tracker
def test_single_object_over_500_frames(name):
    tracker = TRACKERS[name]()
    rng = np.random.default_rng(0)
    for number in range(500):
        shift = 3.0 * number + rng.normal(0, 1)
        tracks = tracker.update([[shift, 50, shift + 40, 130]], [0.9])
        if number > 5:
            assert tracks.ids.tolist() == [1]
            np.testing.assert_allclose(tracks.boxes_xyxy, [[shift, 50, shift + 40, 130]], atol=6)


@every_tracker
def test_2000_detections_in_one_frame(name):
    side = np.arange(2000)
    corner = np.stack([side % 50 * 45.0, side // 50 * 85.0], 1)
    boxes = np.concatenate([corner, corner + np.array([50, 90])], 1)  # each overlaps its neighbors
    tracker = TRACKERS[name]()
    for number in range(2):
        moved = boxes + 2.0 * number
        tracks = tracker.update(moved, np.full(2000, 0.9))
        assert sorted(tracks.ids.tolist()) == list(range(1, 2001))
        np.testing.assert_array_equal(tracks.ids[np.argsort(tracks.detection_index)], np.arange(1, 2001))


@every_tracker
def test_1000_frames_without_detections(name):
    tracker = TRACKERS[name]()
    frames = make_frames(1, num_objects=10)
    used = {id for frame in frames for id in tracker.update(*frame).ids.tolist()}
    nothing = (np.zeros((0, 4)), np.zeros(0))
    sizes = []
    for _ in range(1000):
        assert len(tracker.update(*nothing)) == 0
        sizes.append(len(pickle.dumps(tracker)))
    assert max(sizes[:40]) > max(sizes[40:])  # all tracks expire after max_age = 30 frames
    assert max(sizes[40:]) - min(sizes[40:]) <= 8  # the frame count has more digits
    later = {id for frame in frames for id in tracker.update(*frame).ids.tolist()}
    assert min(later) > max(used)


@every_tracker
def test_memory_is_bounded_in_long_videos(name):
    tracker = TRACKERS[name]()
    sizes = []
    for boxes, scores, _ in make_frames(3, num_objects=5, num_frames=600):
        tracker.update(boxes, scores)
        sizes.append(len(pickle.dumps(tracker)))
    assert max(sizes[300:]) < 1.3 * max(sizes[60:300])


@every_tracker
@pytest.mark.parametrize("empty_frames", [1, 5])
def test_leading_empty_frames_count(name, empty_frames):
    """In the first frames tracks are reported immediately; frames without detections count among them."""
    tracker = TRACKERS[name]()
    for _ in range(empty_frames):
        assert len(tracker.update([], [])) == 0
    found = [len(tracker.update([[0, 0, 40, 80]], [0.9])) for _ in range(6)]
    if name.startswith("bytetrack"):  # immediately in frame 1, else from the second detection on
        assert found == [0, 1, 1, 1, 1, 1]
    elif empty_frames == 5:  # min_hits = 3 detections after the first, except in the first 3 frames
        assert found == [0, 0, 0, 1, 1, 1]
    elif tracker.official_quirks:  # does not remember that the track was reported
        assert found == [1, 1, 0, 1, 1, 1]
    else:
        assert found == [1, 1, 1, 1, 1, 1]


@every_tracker
def test_equal_boxes_give_two_tracks(name):
    tracker = TRACKERS[name]()
    for number in range(10):
        box = [5.0 * number, 0, 5.0 * number + 40, 80]
        tracks = tracker.update([box, box], [0.9, 0.9])
        assert sorted(tracks.ids.tolist()) == [1, 2]
        assert sorted(tracks.detection_index.tolist()) == [0, 1]


corner = st.integers(-5, 30)
side = st.integers(1, 20)
detection = st.tuples(
    corner, corner, side, side, st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.65, 0.7, 1.0]), st.integers(0, 1)
)
video = st.lists(st.lists(detection, max_size=6), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(video, st.sampled_from(sorted(TRACKERS)), st.booleans(), st.sampled_from([1.0, 1e-4, 1e5]))
def test_arbitrary_videos_give_well_formed_tracks(video, name, with_classes, scale):
    """Ties, duplicates, scores on the thresholds, boxes that jump and shrink: no warning and no invalid row."""
    tracker = TRACKERS[name]()
    for frame in video:
        rows = np.array(frame, float).reshape(-1, 6)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1) * scale
        tracks = tracker.update(boxes, rows[:, 4], rows[:, 5] if with_classes else None)
        assert len(set(tracks.ids.tolist())) == len(tracks)
        assert len(set(tracks.detection_index.tolist())) == len(tracks)
        assert (tracks.ids > 0).all()
        np.testing.assert_array_equal(tracks.scores, rows[tracks.detection_index, 4])
        np.testing.assert_array_equal(tracks.classes, rows[tracks.detection_index, 5] * with_classes)
        assert np.isfinite(tracks.boxes_xyxy).all()
        assert (tracks.boxes_xyxy[:, 2:] > tracks.boxes_xyxy[:, :2]).all()
