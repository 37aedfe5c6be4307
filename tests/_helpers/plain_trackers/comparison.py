"""Comparison of a tracker with its plain version, frame by frame."""

import numpy as np


def assert_equal_rows(tracks, rows, names=None):
    """Assert equal rows; with ``names``, a dict filled on the way, identities only need a one-to-one mapping."""
    by_row = {row.row: row for row in rows}
    assert sorted(tracks.detection_index.tolist()) == sorted(by_row)
    rows = [by_row[row] for row in tracks.detection_index.tolist()]
    for id, row in zip(tracks.ids.tolist(), rows, strict=True):
        assert id == row.id if names is None else names.setdefault(id, row.id) == row.id
    assert names is None or len(set(names.values())) == len(names)
    np.testing.assert_allclose(tracks.boxes_xyxy, np.reshape([row.box for row in rows], (-1, 4)), rtol=0, atol=1e-6)
    assert tracks.scores.tolist() == [row.score for row in rows]
    assert tracks.classes.tolist() == [row.label for row in rows]


def assert_equal_updates(tracker, plain, frames, steps=None, names=None):
    """Return the number of rows and of identities seen. ``steps`` are the time steps between frames, 1 by default."""
    count, ids, time = 0, set(), 17.0
    for number, frame in enumerate(frames):
        if steps is None:
            tracks, rows = tracker.update(*frame), plain.update(*frame)
        else:
            time += steps[number] / tracker.frame_rate
            tracks = tracker.update(*frame, timestamp=time)
            rows = plain.update(*frame, dt=steps[number] if number else 1.0)
        assert_equal_rows(tracks, rows, names)
        count += len(tracks)
        ids |= set(tracks.ids.tolist())
    return count, len(ids)
