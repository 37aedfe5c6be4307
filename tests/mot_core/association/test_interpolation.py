"""Offline interpolation and smoothing of tracks, compared with loops and with a textbook smoother."""

import numpy as np
import pytest

from mot_core.association import interpolate_tracks
from mot_core.io import BoxTable


def random_table(seed, tracks=7, frames=60):
    """Tracks that are missed at random for one to many frames, some with identity 0, in the order of frames."""
    rng = np.random.default_rng(seed)
    rows = []
    for identity in range(tracks):
        gone = 0
        for frame in range(int(rng.integers(1, 10)), frames):
            if gone or rng.random() < 0.15:
                gone = gone - 1 if gone else int(rng.integers(0, 12))
                continue
            x, y = rng.uniform(0, 200, 2)
            rows.append(
                (frame, identity, x, y, x + rng.uniform(5, 50), y + rng.uniform(5, 50), rng.random(), identity % 3)
            )
    rows = np.array(rows)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return BoxTable(rows[:, 0], rows[:, 1], rows[:, 2:6], rows[:, 6], rows[:, 7])


def filled_by_loops(table, max_gap):
    """Return {(frame, id): (box, score, class, filled)}."""
    rows = {}
    for identity in set(table.ids.tolist()):
        mine = np.flatnonzero(table.ids == identity)
        for row, following in zip(mine, [*mine[1:], None], strict=True):
            rows[int(table.frames[row]), identity] = (
                table.boxes_xyxy[row], table.scores[row], int(table.classes[row]), False,
            )  # fmt: skip
            if following is None or table.frames[following] - table.frames[row] - 1 > max_gap:
                continue
            first, last = int(table.frames[row]), int(table.frames[following])
            for frame in range(first + 1, last):
                box = [np.interp(frame, [first, last], table.boxes_xyxy[[row, following], k]) for k in range(4)]
                score = np.interp(frame, [first, last], table.scores[[row, following]])
                rows[frame, identity] = np.array(box), score, int(table.classes[row]), True
    return rows


@pytest.mark.parametrize("max_gap", [0, 1, 4, 100])
@pytest.mark.parametrize("seed", range(3))
def test_equals_loops(seed, max_gap):
    table = random_table(seed)
    found, wanted = interpolate_tracks(table, max_gap), filled_by_loops(table, max_gap)
    assert len(found) == len(wanted)
    assert (np.diff(found.frames) >= 0).all()
    for row, key in enumerate(zip(found.frames.tolist(), found.ids.tolist(), strict=True)):
        box, score, label, filled = wanted[key]
        np.testing.assert_allclose(found.boxes_xyxy[row], box, atol=1e-9)
        assert found.scores[row] == pytest.approx(score)
        assert (found.classes[row], found.visibility[row] == 0) == (label, filled)
    assert (len(found) > len(table)) == (max_gap > 0)


def test_empty_and_single_rows():
    assert len(interpolate_tracks(BoxTable.empty(), smooth=True)) == 0
    one = BoxTable([5], [0], [[0, 0, 4, 2]])
    assert interpolate_tracks(one, smooth=True).boxes_xyxy.tolist() == [[0, 0, 4, 2]]


@pytest.mark.parametrize(
    ("table", "max_gap", "words"),
    [
        (BoxTable([1], [1], [[0, 0, 1, 1]]), -1, "max_gap: expected 0 or more frames, got -1"),
        (BoxTable([1], [-1], [[0, 0, 1, 1]]), 20, "ids: expected 0 or more, got -1"),
        (BoxTable([1, 4, 4], [3, 3, 3], np.zeros((3, 4))), 20, "got 3 twice in frame 4"),
    ],
)
def test_invalid_input(table, max_gap, words):
    with pytest.raises(ValueError, match=words):
        interpolate_tracks(table, max_gap)


def test_smoother_equals_least_squares():
    """The smoothed path is the posterior mean: the weighted least-squares solution for all frames at once."""
    rng = np.random.default_rng(0)
    frames = np.array([3, 4, 5, 9, 10, 12, 13, 40, 41])  # gaps of 3 and 1 are filled, that of 26 splits the track
    size = np.array([20.0, 50.0])
    centers = np.stack([5.0 * frames, 100 + rng.normal(0, 2, len(frames))], 1)
    boxes = np.concatenate([centers - size / 2, centers + size / 2], 1)
    found = interpolate_tracks(BoxTable(frames, np.full(len(frames), 2), boxes), 20, smooth=True)
    assert found.frames.tolist() == [*range(3, 14), 40, 41]
    ours = (found.boxes_xyxy[:11, :2] + found.boxes_xyxy[:11, 2:]) / 2
    # Unknowns: position and velocity of 11 frames. Rows: prior, motion, measurements, divided by standard deviations.
    height, count = size[1], 11
    rows, values = [], []

    def add(weights, value, deviation):
        row = np.zeros(2 * count)
        for column, weight in weights.items():
            row[column] = weight / deviation
        rows.append(row)
        values.append(np.asarray(value) / deviation)

    add({0: 1}, centers[0], height / 20)
    add({1: 1}, [0, 0], height / 16)
    for t in range(1, count):
        add({2 * t: 1, 2 * t - 2: -1, 2 * t - 1: -1}, [0, 0], height / 20)
        add({2 * t + 1: 1, 2 * t - 1: -1}, [0, 0], height / 160)
    for frame, center in zip(frames[1:7], centers[1:7], strict=True):
        add({2 * (frame - 3): 1}, center, height / 20)
    solution = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(ours, solution[::2], atol=1e-6)
    np.testing.assert_allclose(found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2], np.tile(size, (13, 1)), atol=1e-6)
