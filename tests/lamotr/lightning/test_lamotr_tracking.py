"""Life cycle of tracks in LA-MOTR, with scripted detection and association scores."""

import pytest
import torch
from torch import nn

from _helpers.bare_plugins import Record
from _helpers.trackers.motr_clips import batch_of, images_of, tiny_lamotr
from _helpers.trackers.scripted_detector import Script
from lamotr.association import ScoredFrame, split_columns


class Scores(nn.Module):
    """Association with given scores per frame, ``{(object slot, track): score}``, 0.1 for all others."""

    kind = "sgla"

    def __init__(self, *frames):
        super().__init__()
        self.frames = list(frames)

    def forward(self, frame, box_head, class_head):
        objects, tracklets = split_columns(frame)
        ids = frame.track_ids[0, tracklets].tolist()
        given = self.frames.pop(0)
        scores = [[given.get((slot, one), 0.1) for one in ids] for slot in objects.tolist()]
        logits = torch.tensor(scores).reshape(1, len(objects), len(ids)).logit()
        return ScoredFrame(frame, logits, objects, tracklets)


def play(scores, *frames, plugins=(), **options):
    tracker = tiny_lamotr(*plugins, **options).float().eval()
    tracker.association = Scores(*scores)
    return Script(tracker, *frames).play()


def test_track_life_cycle():
    found = play(
        [{}, {(1, 0): 0.9}, {(3, 1): 0.8}, {}, {}, {(2, 1): 0.9}],
        ({3: 0.9, 5: 0.8, 6: 0.49}, {}),  # two births
        ({1: 0.9}, {0: 0.9, 1: 0.6}),  # object 1 is that of track 0
        ({3: 0.7}, {0: 0.8, 1: 0.2}),  # track 1 is found by its object only
        ({}, {0: 0.8, 1: 0.2}),  # and missed
        ({4: 0.7}, {0: 0.3, 1: 0.2}),  # an object of no track starts one; track 1 is missed twice and ends
        ({2: 0.7}, {0: 0.8, 2: 0.9}),  # identities are not reused: the score of track 1 means nothing
        miss_tolerance=2,
    )
    assert found == [[0, 1], [0, 1], [0, 1], [0], [2], [0, 2, 3]]


def test_duplicates_of_inactive_tracks_do_not_start_tracks():
    scores = [{}, {}, {(1, 0): 0.9, (2, 0): 0.8}]
    frames = ({3: 0.9}, {}), ({}, {0: 0.2}), ({1: 0.9, 2: 0.9}, {0: 0.2})
    assert play(scores, *frames) == [[0], [], [0]]
    assert play(scores, *frames, association_threshold=0.85) == [[0], [], [0, 1]]


@pytest.mark.parametrize(("matching", "ids"), [("hungarian", [0, 1]), ("greedy", [0])])
def test_matching_rules(matching, ids):
    """Greedily, track 0 takes the object of the highest score, which leaves none to track 1."""
    scores = [{}, {(1, 0): 0.9, (1, 1): 0.8, (2, 0): 0.7}]
    frames = ({3: 0.9, 5: 0.8}, {}), ({1: 0.9, 2: 0.9}, {0: 0.2, 1: 0.2})
    assert play(scores, *frames, matching=matching) == [[0, 1], ids]


def test_inactive_tracks_keep_query_and_anchor():
    states = Record()
    frames = ({3: 0.9}, {}), ({}, {0: 0.2}), ({}, {0: 0.8})
    play([{}, {}, {}], *frames, plugins=[states])
    born, missed, found = states.states
    for name in ("queries", "ref_logits"):
        assert torch.equal(getattr(born, name), getattr(missed, name))
    assert [tracks.misses.tolist() for tracks in states.states] == [[[0]], [[1]], [[0]]]
    assert [tracks.scores[0, 0].item() > 0 for tracks in states.states] == [True, False, True]
    assert not torch.equal(missed.queries, found.queries)


def test_new_streams_and_empty_frames():
    tracker = tiny_lamotr().float().eval()
    tracker.association = Scores({}, {}, {}, {}, {})
    assert Script(tracker, ({1: 0.9}, {}), ({}, {0: 0.9})).play("a") == [[0], [0]]
    assert Script(tracker, ({}, {}), ({4: 0.9}, {}), ({}, {0: 0.8})).play("b") == [[], [0], [0]]


@pytest.mark.parametrize("update", ["weighted", "tan", "tim"])
@pytest.mark.parametrize("association", ["sgla", "combination"])
def test_tracks_without_script(update, association):
    """All variants track; scores of untrained networks are low."""
    tracker = tiny_lamotr(
        update=update, association=association, detection_threshold=0.001, track_threshold=0.001,
        association_threshold=0.9,
    ).float().eval()  # fmt: skip
    images = images_of(0, 3).float()
    found = [tracker.track(batch_of(images[:, time : time + 1], first=time + 1)) for time in range(3)]
    assert all(len(set(tracks.ids.tolist())) == len(tracks.ids) for tracks in found)
    assert len(found[0].ids) == 8
    assert set(found[0].ids.tolist()) <= set(found[2].ids.tolist()), "no track ends above the threshold"
    assert all(tracks.boxes_xyxy.isfinite().all() for tracks in found)
