"""SORT, ByteTrack and OC-SORT with random settings on random scenes, against one Python object per track."""

import numpy as np

from _helpers.crossing_scenes import make_frames
from _helpers.plain_trackers import PlainByteTrack, PlainOCSort, PlainSort
from _helpers.plain_trackers.comparison import assert_equal_updates
from fuzz.damage import one_of, outcome
from mot_core.association import ByteTrack, OCSort, Sort


def case(rng, folder):
    tracker_type, plain_type, options = one_of(rng, [_sort, _bytetrack, _ocsort])(rng)
    frames = make_frames(
        int(rng.integers(2**31)),
        num_objects=int(rng.integers(0, 20)),
        num_frames=int(rng.integers(1, 40)),
        num_classes=one_of(rng, [None, None, 3]),
        size=one_of(rng, [(250, 300), (480, 640), (1080, 1920)]),
        miss=rng.uniform(0, 0.5),
        weak=rng.uniform(0, 0.6),
        clutter=rng.uniform(0, 3),
    )
    if rng.random() < 0.3:
        frames = _degenerate(rng, frames)
    steps = None
    if rng.random() < 0.4:
        # Trackers round steps within 0.001 of a whole number of frames.
        steps = (rng.integers(0, 3, len(frames)) + rng.uniform(0.4, 0.99, len(frames))).tolist()
    tracker = tracker_type(**options)
    assert_equal_updates(tracker, plain_type(**options), frames, steps)
    _rejected(rng, tracker)


def _sort(rng):
    return Sort, PlainSort, _common(rng)


def _bytetrack(rng):
    options = {
        "track_threshold": rng.uniform(0.3, 0.7),
        "low_threshold": rng.uniform(0.0, 0.3),
        "max_age": int(rng.integers(1, 40)),
        "fuse_score": bool(rng.integers(2)),
    }
    return ByteTrack, PlainByteTrack, options


def _ocsort(rng):
    common = _common(rng)
    options = {
        "delta_t": int(rng.integers(1, 5)),
        "inertia": rng.uniform(0, 1.9) * common["iou_threshold"],
        "use_byte": bool(rng.integers(2)),
    }
    return OCSort, PlainOCSort, {**common, **options}


def _common(rng):
    return {
        "score_threshold": rng.uniform(0.3, 0.7),
        "iou_threshold": rng.uniform(0.1, 0.5),
        "max_age": int(rng.integers(1, 40)),
        "min_hits": int(rng.integers(0, 4)),
    }


def _degenerate(rng, frames):
    """Scale, flatten or empty some frames."""
    changed = []
    scale = 10 ** rng.uniform(-1, 1)
    for boxes, scores, classes in frames:
        boxes = boxes * scale
        if rng.random() < 0.2:
            boxes, scores = boxes[:0], scores[:0]
            classes = None if classes is None else classes[:0]
        changed.append((boxes, scores, classes))
    return changed


def _rejected(rng, tracker):
    """Invalid detections raise a clear error and leave the tracker usable."""
    box = np.array([[0.0, 0.0, 10.0, 20.0]])
    bad, scores = box.copy(), np.array([0.9])
    if rng.random() < 0.5:
        bad[0, int(rng.integers(4))] = one_of(rng, [np.nan, np.inf, -np.inf])
    else:
        scores = np.array([one_of(rng, [np.nan, np.inf, -np.inf])])
    _, error = outcome(tracker.update, bad, scores)
    assert error is not None
    _, error = outcome(tracker.update, box, [0.9], timestamp=one_of(rng, [np.nan, np.inf, -1e308, "x"]))
    assert error is not None
