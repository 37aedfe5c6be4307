"""Linking of tracks, compared with an enumeration of all matchings and a textbook Kalman filter with matrices."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.association import KalmanLinkGain, link_tracks
from mot_core.association.kalman import BYTETRACK_NOISE
from mot_core.io import BoxTable

IMAGE = (480, 640)


def random_tracks(rng, tracks=6, frames=30):
    """Short tracks of objects that move at a constant velocity, several of them of one object, with two classes."""
    rows, places = [], rng.uniform(100, 400, (3, 2))
    for identity in rng.permutation(np.arange(5, 5 + tracks)):
        speed, place = rng.uniform(-3, 3, 2), places[rng.integers(3)]
        start = int(rng.integers(1, frames - 4))
        for frame in range(start, min(frames, start + int(rng.integers(1, 9))) + 1):
            if frame > start and rng.random() < 0.2:
                continue
            x, y = place + speed * (frame - start) + rng.normal(0, 1, 2)
            rows.append((frame, identity, x, y, x + 30, y + 60 + rng.normal(0, 2), rng.random(), identity % 2))
    rows = np.array(rows)[rng.permutation(len(rows))]
    return BoxTable(rows[:, 0], rows[:, 1], rows[:, 2:6], rows[:, 6], rows[:, 7])


def gain_of_pair(table, one, other, image):
    """The formula of KalmanLinkGain for two identities, with the noise of ByteTrack and a filter in 4 dimensions."""
    mine, theirs = (np.flatnonzero(table.ids == name) for name in (one, other))
    mine, theirs = (rows[np.argsort(table.frames[rows])] for rows in (mine, theirs))
    boxes, frames = table.boxes_xyxy, table.frames
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    rows = mine[-30:]

    # Only the filtered height scales the noise, so it gets a filter of its own, also with matrices.
    states = {
        "xy": [np.r_[center[rows[0]], 0, 0], None, 2],
        "h": [np.r_[boxes[rows[0], 3] - boxes[rows[0], 1], 0], None, 1],
    }
    first = states["h"][0][0]
    for state in states.values():
        state[1] = np.diag([(first / 10) ** 2] * state[2] + [(first / 16) ** 2] * state[2])

    def predict(dt, scale):
        for state in states.values():
            d = state[2]
            motion = np.eye(2 * d)
            motion[:d, d:] = dt * np.eye(d)
            noise = np.diag([(scale / 20) ** 2] * d + [(scale / 160) ** 2] * d) * dt
            state[0], state[1] = motion @ state[0], motion @ state[1] @ motion.T + noise

    for before, row in pairwise(rows):
        predict(frames[row] - frames[before], states["h"][0][0])
        scale = states["h"][0][0]
        measured = {"xy": center[row], "h": boxes[row, 3:] - boxes[row, 1:2]}
        for name, state in states.items():
            d = state[2]
            observe = np.eye(d, 2 * d)
            total = observe @ state[1] @ observe.T + (scale / 20) ** 2 * np.eye(d)
            share = state[1] @ observe.T @ np.linalg.inv(total)
            state[0] = state[0] + share @ (measured[name] - observe @ state[0])
            state[1] = (np.eye(2 * d) - share @ observe) @ state[1]
    last, start = mine[-1], theirs[0]
    gap = frames[start] - frames[last]
    scale = boxes[last, 3] - boxes[last, 1]
    predict(gap, scale)
    total = states["xy"][1][:2, :2] + (scale / 20) ** 2 * np.eye(2)
    error = center[start] - states["xy"][0][:2]
    value = -0.5 * error @ np.linalg.solve(total, error) - 0.5 * math.log(np.linalg.det(2 * math.pi * total))
    spread = 0.08**2 + 0.03**2 * gap
    change = math.log((boxes[start, 3] - boxes[start, 1]) / scale)
    value += -0.5 * change**2 / spread - 0.5 * math.log(2 * math.pi * spread)
    x1, y1, x2, y2 = image
    births = len(set(table.ids.tolist())) / (frames.max() - frames.min() + 1) / ((x2 - x1) * (y2 - y1)) / 2
    dx, dy = 0.01 * (x2 - x1), 0.01 * (y2 - y1)
    for a, b, c, d in boxes[[last, start]]:
        if a <= x1 + dx or b <= y1 + dy or c >= x2 - dx or d >= y2 - dy:
            births *= 50
            break
    return value + math.log(1 / 400) - math.log(births)


def pairs_of(table, max_gap):
    """All pairs of identities that may be joined, by the definition."""
    ends = {}
    for name in set(table.ids.tolist()):
        rows = np.flatnonzero(table.ids == name)
        rows = rows[np.argsort(table.frames[rows])]
        ends[name] = (
            *(int(table.frames[rows[place]]) for place in (0, -1)),
            *(int(table.classes[rows[place]]) for place in (0, -1)),
        )
    return [
        (one, other)
        for one, (_, end, _, label) in ends.items()
        for other, (start, _, first_label, _) in ends.items()
        if 1 <= start - end <= max_gap and label == first_label
    ]


def best_by_enumeration(gains):
    """The largest sum of gains over all one-to-one matchings, and its pairs."""
    best = 0.0, ()
    pairs = sorted(gains)

    def extend(position, chosen, total):
        nonlocal best
        if total > best[0] + 1e-12:
            best = total, chosen
        for place in range(position, len(pairs)):
            one, other = pairs[place]
            if all(one != a and other != b for a, b in chosen):
                extend(place + 1, (*chosen, pairs[place]), total + gains[pairs[place]])

    extend(0, (), 0.0)
    return best


def joined_by_enumeration(table, gains):
    """New identity of every track."""
    before = {other: one for one, other in best_by_enumeration(gains)[1]}

    def origin(name):
        return origin(before[name]) if name in before else name

    return {name: origin(name) for name in set(table.ids.tolist())}


@pytest.mark.parametrize("image", [IMAGE, None])
@pytest.mark.parametrize("seed", range(12))
def test_equals_enumeration(seed, image):
    table = random_tracks(np.random.default_rng(seed))
    corners = (0, 0, 640, 480) if image else (*table.boxes_xyxy[:, :2].min(0), *table.boxes_xyxy[:, 2:].max(0))
    for max_gap in (1, 4, 12):
        gains = {pair: gain_of_pair(table, *pair, corners) for pair in pairs_of(table, max_gap)}
        wanted = joined_by_enumeration(table, {pair: gain for pair, gain in gains.items() if gain > 0})
        found = link_tracks(table, max_gap, image_size=image)
        assert found.ids.tolist() == [wanted[name] for name in table.ids.tolist()]


def test_some_tracks_are_joined():
    counts = [len(set(link_tracks(random_tracks(np.random.default_rng(seed)), 12).ids.tolist())) for seed in range(12)]
    assert 3 <= sum(count < 6 for count in counts) <= 12


@pytest.mark.parametrize("seed", range(12))
def test_matching_of_random_gains_equals_enumeration(seed):
    """Random gains, of which many compete for one track."""
    rng = np.random.default_rng(seed)
    table = random_tracks(rng, tracks=7)
    table = BoxTable(table.frames, table.ids, table.boxes_xyxy)  # without classes
    pairs = pairs_of(table, 15)
    gains = {pair: rng.normal(0.5, 1) for pair in pairs}

    def gain(given):
        assert len(given.earlier) == len(pairs)
        starts = {(int(table.frames[row]), *table.boxes_xyxy[row]): int(table.ids[row]) for row in range(len(table))}
        names = [starts[(int(given.frames[row]), *given.boxes_xyxy[row])] for row in given.first]
        return np.array([gains[names[a], names[b]] for a, b in zip(given.earlier, given.later, strict=True)])

    wanted = joined_by_enumeration(table, {pair: value for pair, value in gains.items() if value > 0})
    assert link_tracks(table, 15, gain=gain).ids.tolist() == [wanted[name] for name in table.ids.tolist()]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), max_gap=st.integers(0, 30))
def test_invariants(seed, max_gap):
    rng = np.random.default_rng(seed)
    table = random_tracks(rng, tracks=8)
    found = link_tracks(table, max_gap, image_size=IMAGE)
    for column in ("frames", "boxes_xyxy", "scores", "classes"):
        np.testing.assert_array_equal(getattr(found, column), getattr(table, column))
    assert len(set(zip(found.frames.tolist(), found.ids.tolist(), strict=True))) == len(table)  # no overlap
    joined = {}
    for old, new in zip(table.ids.tolist(), found.ids.tolist(), strict=True):
        assert joined.setdefault(old, new) == new  # tracks are never split
        assert table.frames[table.ids == old].min() >= table.frames[table.ids == new].min()  # named after the first
    for new in set(joined.values()):
        parts = sorted(
            (int(table.frames[table.ids == old].min()), int(table.frames[table.ids == old].max()))
            for old, name in joined.items()
            if name == new
        )
        for (_, end), (start, _) in pairwise(parts):
            assert 1 <= start - end <= max_gap
    # Other names give the same tracks.
    names = dict(zip(range(5, 13), rng.permutation(1000)[:8].tolist(), strict=True))
    other = BoxTable(
        table.frames, [names[name] for name in table.ids.tolist()], table.boxes_xyxy, table.scores, table.classes
    )
    renamed = link_tracks(other, max_gap, image_size=IMAGE)
    assert renamed.ids.tolist() == [names[name] for name in found.ids.tolist()]
    # So does another order of rows.
    shuffled = link_tracks(table.select(rng.permutation(len(table))), max_gap, image_size=IMAGE)

    def by_row(one):
        return {(int(f), *box): int(name) for f, box, name in zip(one.frames, one.boxes_xyxy, one.ids, strict=True)}

    assert by_row(shuffled) == by_row(found)


def test_ties_do_not_depend_on_identities():
    """Two tracks that start at the same distance from one that ends, above and below it."""
    boxes = [[100, 100, 140, 200], [100, 100, 140, 200], [100, 90, 140, 190], [100, 110, 140, 210]]
    for names in ([1, 1, 2, 3], [1, 1, 3, 2], [9, 9, 3, 2]):
        found = link_tracks(BoxTable([1, 2, 4, 4], names, boxes), 5, image_size=IMAGE)
        assert found.ids.tolist() == [*names[:2], names[0], names[3]]


def test_empty_table_one_track_and_no_gap():
    assert len(link_tracks(BoxTable.empty())) == 0
    one = BoxTable([1, 9], [3, 3], [[0, 0, 4, 2], [1, 0, 5, 2]])
    assert link_tracks(one).ids.tolist() == [3, 3]
    table = random_tracks(np.random.default_rng(0))
    assert link_tracks(table, 0) is table


def test_long_chain_has_one_identity():
    frames = np.arange(1, 40, 3)
    boxes = [[100 + x, 90, 140 + x, 190] for x in range(len(frames))]
    found = link_tracks(BoxTable(frames, range(50, 50 - len(frames), -1), boxes), 3, image_size=IMAGE)
    assert set(found.ids.tolist()) == {50}


def test_classes_are_kept_apart():
    boxes = [[100, 90, 140, 190]] * 2
    for classes, count in (([1, 1], 1), ([1, 2], 2)):
        table = BoxTable([1, 3], [1, 2], boxes, classes=classes)
        assert len(set(link_tracks(table, 5, image_size=IMAGE).ids.tolist())) == count


def test_objects_at_the_border_are_less_likely_linked():
    def gain(left):
        table = BoxTable([1, 2, 9], [1, 1, 2], [[left, 90, left + 40, 190]] * 3)
        kept = []
        link_tracks(table, 9, gain=lambda given: kept.append(KalmanLinkGain()(given)) or kept[0], image_size=IMAGE)
        return kept[0][0]

    assert gain(300) - gain(6) == pytest.approx(math.log(50))
    assert gain(300) == pytest.approx(gain(8))


BOX = [0.0, 0, 4, 2]


@pytest.mark.parametrize(
    ("table", "max_gap", "words"),
    [
        (BoxTable([1], [1], [BOX]), -1, "max_gap: expected 0 or more frames, got -1"),
        (BoxTable([1], [-1], [BOX]), 20, "ids: expected 0 or more, got -1"),
        (BoxTable([1, 4, 4], [3, 3, 3], [BOX] * 3), 20, "got 3 twice in frame 4"),
        (
            BoxTable([1, 2], [1, 2], [BOX, [0, np.nan, 4, 2]]),
            20,
            r"boxes_xyxy: expected finite corners, got .* frame 2",
        ),
        (BoxTable([1, 2], [1, 2], [BOX, [4, 0, 4, 2]]), 20, "expected x1 < x2 and y1 < y2, got .* in frame 2"),
    ],
)
def test_invalid_tables(table, max_gap, words):
    with pytest.raises(ValueError, match=words):
        link_tracks(table, max_gap)


@pytest.mark.parametrize(("values", "words"), [([np.nan], "got NaN"), ([1.0, 2.0], r"got the shape \(2,\)")])
def test_invalid_gains(values, words):
    table = BoxTable([1, 3], [1, 2], [BOX] * 2)
    with pytest.raises(ValueError, match=f"gain: expected 1 numbers, one for each pair, {words}"):
        link_tracks(table, 5, gain=lambda _: np.array(values))


def test_default_noise():
    assert KalmanLinkGain().noise is BYTETRACK_NOISE
