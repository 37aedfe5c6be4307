"""Life cycle of tracks in MeMOTR, with scripted detector scores."""

import torch

from _helpers.bare_plugins import Record
from _helpers.trackers.motr_clips import tiny_memotr
from _helpers.trackers.scripted_detector import Script


def tracking(*plugins, **arguments):
    return tiny_memotr(*plugins, **({"update_threshold": 0.5} | arguments)).float().eval()


def test_track_life_cycle():
    tracker = tracking(miss_tolerance=2)
    script = Script(
        tracker,
        ({3: 0.9, 5: 0.8, 6: 0.49}, {}),  # two births
        ({2: 0.95}, {0: 0.9, 1: 0.45}),  # a third birth; track 1 is missed
        ({}, {0: 0.9, 1: 0.5, 2: 0.9}),  # track 1 is found, its miss count is reset; a score of 0.5 is not reported
        ({}, {0: 0.9, 1: 0.45, 2: 0.3}),
        ({}, {0: 0.9, 1: 0.45, 2: 0.8}),  # missed twice in a row: track 1 ends
        ({1: 0.7}, {0: 0.9, 1: 0.99, 2: 0.3}),  # identities are not reused
        ({}, {0: 0.71, 2: 0.6, 3: 0.71}),
    )
    assert script.play() == [[0, 1], [0, 2], [0, 2], [0], [0, 2], [0, 3], [0, 2, 3]]


def test_missed_tracks_keep_their_query_until_they_are_found():
    plugin = Record()
    tracker = tracking(plugin)
    Script(tracker, ({3: 0.9}, {}), ({}, {0: 0.1}), ({}, {0: 0.8})).play()
    born, missed, found = plugin.states
    assert missed.misses.tolist() == [[1]]
    for name in ("queries", "ref_logits", "memory"):
        assert torch.equal(getattr(born, name), getattr(missed, name))
    assert found.misses.tolist() == [[0]]
    assert not torch.equal(missed.queries, found.queries)


def test_new_streams_and_empty_frames():
    tracker = tracking()
    assert Script(tracker, ({1: 0.9}, {}), ({}, {0: 0.9})).play("a") == [[0], [0]]
    assert Script(tracker, ({}, {}), ({4: 0.9}, {}), ({}, {0: 0.8})).play("b") == [[], [0], [0]]
