"""Association of FairMOT: costs against plain loops, order of the stages, smoothing and bad input."""

import numpy as np
import pytest

from mot_core.association import AppearanceTrack, ByteTrack
from mot_core.association.appearance import GATE
from mot_core.association.kalman import BYTETRACK_NOISE, BatchedKalman

A, B = [1.0, 0.0], [0.0, 1.0]


def box(x, y=100):
    return [x, y, x + 40, y + 80]


def run(tracker, *frames):
    found = []
    for boxes, embeddings in frames:
        scores = np.full(len(boxes), 0.9)
        tracks = tracker.update(np.array(boxes, float).reshape(-1, 4), scores, embeddings=np.array(embeddings))
        order = np.argsort(tracks.boxes_xyxy[:, 0])
        found.append(tracks.ids[order].tolist())
    return found


def test_distance_equals_plain_loops():
    rng, kalman = np.random.default_rng(0), BatchedKalman(BYTETRACK_NOISE)
    start = rng.uniform(20, 60, (4, 3))
    block = kalman.start(start, start[3])
    kalman.predict(block, block[3])
    measured = rng.uniform(20, 60, (4, 2))
    found = kalman.distance(block, measured, block[3])
    for track in range(3):
        height = block[3, track]
        noise = [(height / 20) ** 2, (height / 20) ** 2, 0.1**2, (height / 20) ** 2]
        for other in range(2):
            covariance = np.diag([block[8 + i, track] + noise[i] for i in range(4)])
            difference = measured[:, other] - block[:4, track]
            expected = difference @ np.linalg.inv(covariance) @ difference
            assert found[track, other] == pytest.approx(expected)


def test_appearance_decides_between_close_boxes():
    """Two people change places within the gate; overlap alone would exchange them."""
    frames = ([box(100), box(112)], [A, B]), ([box(100), box(112)], [B, A])
    assert run(AppearanceTrack(), *frames) == [[1, 2], [2, 1]]
    plain = ByteTrack()
    for boxes, _ in frames:
        tracks = plain.update(np.array(boxes, float), np.full(2, 0.9))
    assert tracks.ids[np.argsort(tracks.boxes_xyxy[:, 0])].tolist() == [1, 2]


def test_costs_equal_plain_loops(monkeypatch):
    tracker, seen = AppearanceTrack(appearance_weight=0.7), []
    fuse = tracker._fuse
    monkeypatch.setattr(
        tracker, "_fuse", lambda table, frame: seen.append((table.copy(), fuse(table, frame))) or seen[-1][1]
    )
    run(tracker, ([box(100), box(300)], [A, B]), ([box(104), box(310)], [[0.6, 0.8], B]))
    table, cost = seen[0]
    for track, feature in enumerate(([1, 0], [0, 1])):
        for other, (left, wanted) in enumerate(((104, [0.6, 0.8]), (310, [0, 1]))):
            z = np.array([left + 20, 140, 0.5, 80])
            variance = table.values[8:12, track] + np.array([16, 16, 0.01, 16])
            motion = ((z - table.values[:4, track]) ** 2 / variance).sum()
            expected = 0.7 * (1 - np.dot(feature, wanted)) + 0.3 * motion if motion <= GATE else np.inf
            assert cost[track, other] == pytest.approx(expected)


def test_overlap_matches_what_appearance_does_not():
    frames = ([box(100)], [A]), ([box(102)], [B])
    assert run(AppearanceTrack(), *frames) == [[1], [1]]
    # Without overlap, another appearance is another person, reported from the second detection on.
    moved = ([box(100)], [A]), ([box(300)], [A]), ([box(300)], [A])
    assert run(AppearanceTrack(), *moved) == [[1], [], [2]]


def test_lost_tracks_return_by_appearance():
    frames = [([box(100), box(400)], [A, B]), ([box(400)], [B]), ([box(400)], [B]), ([box(110), box(400)], [A, B])]
    assert run(AppearanceTrack(), *frames)[-1] == [1, 2]
    assert run(AppearanceTrack(max_age=1), *frames)[-1] == [2]


def test_embeddings_are_smoothed():
    tracker = AppearanceTrack(smoothing=0.75)
    run(tracker, ([box(100)], [A]), ([box(100)], [[0.6, 0.8]]))
    mean = np.array([0.75 + 0.25 * 0.6, 0.25 * 0.8])
    np.testing.assert_allclose(tracker._streams[0].embeddings, [mean / np.linalg.norm(mean)])


def test_frames_without_detections():
    none = np.zeros((0, 2))
    assert run(AppearanceTrack(), ([], none), ([box(1)], [A]), ([], none), ([box(1)], [A])) == [[], [], [], []]
    assert run(AppearanceTrack(), ([box(1)], [A]), ([], none), ([box(1)], [A])) == [[1], [], [1]]


def test_state_round_trip():
    tracker, other = AppearanceTrack(), AppearanceTrack()
    run(tracker, ([box(100), box(112)], [A, B]))
    other.load_state_dict(tracker.state_dict())
    following = ([box(100), box(112)], [B, A])
    assert run(tracker, following) == run(other, following)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"smoothing": 1.5}, "smoothing must be from 0 to 1, got 1.5"),
        ({"appearance_weight": -1}, "appearance_weight must be from 0 to 1, got -1"),
        ({"low_threshold": 0.9}, "low_threshold must be at most track_threshold"),
    ],
)
def test_invalid_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        AppearanceTrack(**options)


def test_embeddings_are_required():
    with pytest.raises(ValueError, match="AppearanceTrack has a model that needs embeddings"):
        AppearanceTrack().update(np.array([box(1)], float), np.ones(1))
