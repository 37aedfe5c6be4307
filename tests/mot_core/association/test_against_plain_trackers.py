"""Every tracker equals its plain-loop reference in identities, boxes, scores, classes and rows, frame by frame."""

import numpy as np
import pytest

from _helpers.crossing_scenes import make_frames
from _helpers.plain_trackers import PlainBoTSort, PlainByteTrack, PlainCBIoU, PlainOCSort, PlainSort
from _helpers.plain_trackers.comparison import assert_equal_updates
from mot_core.association import BoTSort, ByteTrack, CBIoU, OCSort, Sort, pixel_iou_cost

OFFICIAL_BYTETRACK = {"official_quirks": True, "cost": pixel_iou_cost, "report": "filter"}


def zoom(frame):
    """A camera that zooms and pans, differently in each frame."""
    return [[1 + 0.01 * np.sin(frame), 0, 2 * np.cos(frame)], [0, 1 + 0.02 * np.cos(frame), 3 * np.sin(frame)]]


PAIRS = {
    "sort": (lambda: Sort(), lambda: PlainSort()),
    "sort-short-memory": (lambda: Sort(max_age=2, min_hits=1), lambda: PlainSort(max_age=2, min_hits=1)),
    "sort-filter": (lambda: Sort(report="filter"), lambda: PlainSort(report="filter")),
    "sort-official": (
        lambda: Sort(official_quirks=True, report="filter", max_age=1),
        lambda: PlainSort(official=True, report="filter", max_age=1),
    ),
    "bytetrack": (lambda: ByteTrack(), lambda: PlainByteTrack()),
    "bytetrack-filter": (lambda: ByteTrack(report="filter"), lambda: PlainByteTrack(report="filter")),
    "bytetrack-unfused": (lambda: ByteTrack(fuse_score=False), lambda: PlainByteTrack(fuse_score=False)),
    "bytetrack-short-memory": (lambda: ByteTrack(max_age=4), lambda: PlainByteTrack(max_age=4)),
    "bytetrack-official": (
        lambda: ByteTrack(**OFFICIAL_BYTETRACK, max_age=6),
        lambda: PlainByteTrack(official=True, report="filter", max_age=6),
    ),
    "botsort": (lambda: BoTSort(), lambda: PlainBoTSort()),
    "botsort-camera": (
        lambda: BoTSort(camera=zoom, report="filter", max_age=8),
        lambda: PlainBoTSort(camera=zoom, report="filter", max_age=8),
    ),
    "cbiou": (lambda: CBIoU(), lambda: PlainCBIoU()),
    "cbiou-small": (
        lambda: CBIoU(buffer=0.1, buffer_second=0.2, motion_frames=2, min_hits=1),
        lambda: PlainCBIoU(buffer=0.1, buffer_second=0.2, motion_frames=2, min_hits=1),
    ),
    "ocsort": (lambda: OCSort(), lambda: PlainOCSort()),
    "ocsort-filter": (lambda: OCSort(report="filter"), lambda: PlainOCSort(report="filter")),
    "ocsort-byte": (lambda: OCSort(use_byte=True, delta_t=2), lambda: PlainOCSort(use_byte=True, delta_t=2)),
    "ocsort-official": (lambda: OCSort(official_quirks=True), lambda: PlainOCSort(official=True)),
    "ocsort-official-byte": (
        lambda: OCSort(official_quirks=True, use_byte=True),
        lambda: PlainOCSort(official=True, use_byte=True),
    ),
}
DENSITIES = {
    "sparse": {"num_objects": 3, "clutter": 0.3},
    "medium": {"num_objects": 9},
    "crowd": {"num_objects": 24, "num_frames": 25, "size": (300, 400), "clutter": 3.0},
    "gaps": {"num_objects": 12, "size": (250, 300), "clutter": 2.0, "miss": 0.4},
}


# The official code numbers tracks that start in one frame by solver ties among pairs without overlap.
NUMBERED_BY_TIES = {"sort-official", "ocsort-official", "ocsort-official-byte"}


def assert_equal_runs(pair, frames, steps=None):
    """Return the number of rows and of identities seen. ``steps`` are the time steps between frames, 1 by default."""
    tracker, plain = (make() for make in PAIRS[pair])
    return assert_equal_updates(tracker, plain, frames, steps, {} if pair in NUMBERED_BY_TIES else None)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("pair", PAIRS)
def test_equals_plain_loops(pair, density, seed):
    options = DENSITIES[density]
    count, ids = assert_equal_runs(pair, make_frames(seed, **options))
    assert count > 10 * options["num_objects"] ** 0.5  # the scene is not trivial
    assert ids >= options["num_objects"] // 2


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pair", PAIRS)
def test_equals_plain_loops_with_classes(pair, seed):
    assert_equal_runs(pair, make_frames(seed, num_objects=10, num_classes=3, size=(300, 400)))


@pytest.mark.parametrize("pair", PAIRS)
def test_equals_plain_loops_with_scores_on_the_thresholds(pair):
    frames = make_frames(1, num_objects=10, weak=0.5)
    assert_equal_runs(pair, [(boxes, scores.round(1), None) for boxes, scores, _ in frames])


@pytest.mark.parametrize("pair", PAIRS)
def test_equals_plain_loops_after_long_gaps(pair):
    """Tracks expire, and OC-SORT replays gaps of every length up to its memory."""
    frames = make_frames(11, num_objects=4, num_frames=120, miss=0.35, clutter=0.2, weak=0.5)
    assert_equal_runs(pair, frames)


@pytest.mark.parametrize(
    ("tracker_type", "returns", "born"),
    [(Sort, False, [2, 0, 1, 3]), (OCSort, False, [2, 0, 1, 3]), (OCSort, True, [0, 1, 2])],
)
def test_official_identity_order_of_simultaneous_births(tracker_type, returns, born):
    """Detections dropped by the threshold are numbered last, unless OC-SORT matches a track to its last box."""
    tracker = tracker_type(official_quirks=True, min_hits=0)
    still = [[0.0, 0, 40, 80], [200, 0, 240, 80]]
    for x in (0, 10, 27, 51, 80):
        tracker.update([*still, [x, 300, x + 40, 380]], [0.9] * 3)
    # A small overlap with the first track, with the second, with none, and with the runner, which turns back or leaps.
    x = 75 if returns else 128
    tracks = tracker.update([[26, 0, 66, 80], [230, 0, 270, 80], [600, 0, 640, 80], [x, 300, x + 40, 380]], [0.9] * 4)
    assert sorted(tracks.ids.tolist()) == ([3, 4, 5, 6] if returns else [4, 5, 6, 7])
    new = tracks[tracks.ids > 3]
    assert new.detection_index[np.argsort(new.ids)].tolist() == born


@pytest.mark.parametrize("pair", PAIRS)
def test_equals_plain_loops_with_vanishing_areas(pair):
    """Areas shrink so fast that the prediction would be negative, also while OC-SORT replays a gap."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(120):
        boxes = []
        for place in range(6):
            phase = (number + 3 * place) % 14
            if phase in (5, 6, 7):
                continue
            side = (200.0 if place % 2 else 90.0) * 0.72 ** min(phase, 6) + rng.uniform(0, 1, 2)
            center = np.array([300.0 * place + 2 * phase, 200.0]) + rng.normal(0, 1, 2)
            boxes.append([*(center - side / 2), *(center + side / 2)])
        frames.append((np.array(boxes), rng.uniform(0.7, 1, len(boxes)), None))
    count, _ = assert_equal_runs(pair, frames)
    assert count > 100


@pytest.mark.parametrize("whole", [True, False], ids=["dropped-frames", "any-time"])
@pytest.mark.parametrize("pair", PAIRS)
def test_equals_plain_loops_at_irregular_times(pair, whole):
    """Whole steps meet max_age exactly, regardless of rounding errors in seconds."""
    rng = np.random.default_rng(3)
    steps = (rng.integers(1, 4, 60) if whole else rng.uniform(0.4, 2.5, 60)).tolist()
    assert_equal_runs(pair, make_frames(5, num_frames=60), steps)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    ("detections", "last"),
    [("MOT15/train/TUD-Stadtmitte/det/sort.txt", 179), ("MOT17/train/MOT17-05-FRCNN/det/yolox.txt", 150)],
)
def test_equals_plain_loops_on_real_detections(pair, detections, last, mot_data):
    rows = np.loadtxt(mot_data / detections, delimiter=",")
    frames = []
    for number in range(1, last + 1):
        found = rows[rows[:, 0] == number]
        left, top, width, height, score = found[:, 2:7].T
        frames.append((np.stack([left, top, left + width, top + height], 1), score))
    count, _ = assert_equal_runs(pair, frames)
    assert count > 400
