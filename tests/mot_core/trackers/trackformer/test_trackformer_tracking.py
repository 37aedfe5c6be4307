"""Life cycle of tracks in TrackFormer, with scripted detector scores."""

import itertools

import pytest
import torch

from _helpers.bare_plugins import Record
from _helpers.trackers.motr_clips import batch_of, images_of, tiny_trackformer
from _helpers.trackers.scripted_detector import Script
from mot_core.nn import DetectorOutput
from mot_core.trackers.detr import PREVIOUS_FEATURES
from mot_core.trackers.trackformer.reidentification import reidentify, unique_slots


class ApartScript(Script):
    """Script whose slots have boxes apart from each other, and embeddings ``(slot's number, 0, ...)`` if given."""

    def __init__(self, *arguments, numbers=None):
        super().__init__(*arguments)
        self.numbers = numbers

    def __call__(self, *arguments, **options):
        output, pyramid = super().__call__(*arguments, **options)
        slots = output.logits.shape[2]
        boxes = torch.full((2, 1, slots, 4), 0.1)
        boxes[..., 0] = (torch.arange(slots) + 0.5) / slots
        hidden = output.hidden
        if self.numbers is not None:
            hidden = torch.zeros_like(hidden)
            hidden[..., 0] = torch.tensor(self.numbers.pop(0) + [0.0] * slots)[:slots]
        return DetectorOutput(output.logits, boxes, hidden, output.references), pyramid


def tracking(*plugins, **arguments):
    return tiny_trackformer(*plugins, **arguments).float().eval()


def test_track_life_cycle_without_reidentification():
    script = ApartScript(
        tracking(),
        ({3: 0.9, 5: 0.8, 6: 0.39}, {}),  # two births
        ({2: 0.95}, {0: 0.9, 1: 0.41}),
        ({}, {0: 0.9, 1: 0.39, 2: 0.9}),  # track 1 ends
        ({1: 0.7}, {0: 0.9, 1: 0.99, 2: 0.6}),  # identities are not reused
    )
    # New tracks precede older ones.
    assert script.play() == [[0, 1], [2, 0, 1], [2, 0], [3, 2, 0]]


def test_missed_tracks_are_found_by_their_query():
    plugin = Record()
    script = ApartScript(
        tracking(plugin, miss_tolerance=3, reid_threshold=0.8),
        ({3: 0.9, 5: 0.9}, {}),
        ({}, {0: 0.9, 1: 0.3}),  # track 1 is missed
        ({}, {0: 0.9, 1: 0.7}),  # not enough to find it again
        ({}, {0: 0.3, 1: 0.95}),  # found
        ({}, {0: 0.3, 1: 0.5}),  # an active track needs less
        ({}, {0: 0.3, 1: 0.9}),  # track 0 is missed for the third time
        ({}, {0: 0.9, 1: 0.9}),
    )
    assert script.play() == [[0, 1], [0], [0], [1], [1], [1], [1]]
    born, missed, again, found = plugin.states[:4]
    assert missed.misses.tolist() == [[0, 1]]
    for name in ("queries", "ref_logits", "embeddings", "boxes_cxcywh"):
        assert torch.equal(getattr(born, name)[:, 1], getattr(missed, name)[:, 1])
        assert torch.equal(getattr(born, name)[:, 1], getattr(again, name)[:, 1])
    assert not torch.equal(found.queries[:, 1], again.queries[:, 1])
    assert torch.equal(found.queries[..., :32], torch.zeros_like(found.queries[..., :32])), "no position encoding"
    assert torch.equal(found.queries[..., 32:], found.embeddings)


@pytest.mark.parametrize(("distance", "expected"), [(0.0, [[0, 1], [1], [2, 3, 1]]), (1.0, [[0, 1], [1], [2, 0, 1]])])
def test_missed_tracks_are_found_by_similar_detections(distance, expected):
    script = ApartScript(
        tracking(miss_tolerance=5, reid_threshold=0.8, reid_distance=distance),
        ({3: 0.9, 5: 0.9}, {}),
        ({}, {0: 0.1, 1: 0.9}),
        ({1: 0.9, 2: 0.9}, {1: 0.9}),
        numbers=[[0, 0, 0, 4.0, 0, 8.0], [0] * 8 + [7.0, 8.0], [0, 5.5, 4.9]],
    )  # the embedding of track 0 stays 4
    assert script.play() == expected


def test_duplicates():
    """All boxes are equal: the best track survives, and there are no births next to it."""
    tracker = tracking()
    # Several births at the same box are one object.
    assert Script(tracker, ({3: 0.8, 5: 0.9}, {}), ({1: 0.99}, {0: 0.5})).play() == [[0], [0]]
    tracker = tracking(nms_threshold=1.0)
    assert Script(tracker, ({3: 0.8, 5: 0.9}, {}), ({}, {0: 0.5, 1: 0.6})).play() == [[0, 1], [0, 1]]
    tracker.nms_threshold = 0.9
    script = Script(tracker, ({}, {0: 0.5, 1: 0.6}))
    assert script.tracker.track(batch_of(images_of(0, 1), name="stream", first=3)).ids.tolist() == [1]


def test_lowest_total_distance():
    generator = torch.Generator().manual_seed(0)
    for lost, born in ((1, 1), (2, 3), (3, 2), (3, 3)):
        one, other = torch.rand(lost, 4, generator=generator), torch.rand(born, 4, generator=generator)
        distance = [[(a - b).norm().item() for b in other] for a in one]
        least = min(
            sum(distance[row][column] for row, column in zip(rows, columns, strict=True))
            for rows in itertools.combinations(range(lost), min(lost, born))
            for columns in itertools.permutations(range(born), min(lost, born))
        )
        rows, columns = reidentify(one, other, 9.0)
        assert sum(distance[row][column] for row, column in zip(rows, columns, strict=True)) == pytest.approx(least)
        near = reidentify(one, other, 0.5)
        assert all(distance[row][column] <= 0.5 for row, column in zip(*near, strict=True))
    assert [len(found) for found in reidentify(torch.rand(0, 4), torch.rand(2, 4), 1.0)] == [0, 0]


def test_unique_slots_never_removes_kept_ones():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 4)
    slots, kept = torch.tensor([True, True, False, False]), torch.tensor([False, False, True, True])
    assert not unique_slots(boxes, torch.tensor([0.9, 0.8, 0.1, 0.1]), slots, 0.9, kept).any()
    assert unique_slots(boxes, torch.ones(4), slots, 1.0, kept).tolist() == slots.tolist()


def test_features_of_the_previous_frame_end_with_the_stream():
    tracker = tracking()
    images = images_of(0, 2).float()

    def boxes(number, name, time):
        record = Record()
        tracker.track(batch_of(images[:, number : number + 1], name=name, first=time))
        assert PREVIOUS_FEATURES in tracker._tracking.store
        return record

    outputs = []
    original = tracker.detect
    tracker.detect = lambda *arguments: outputs.append(original(*arguments)) or outputs[-1]
    boxes(1, "a", 1)
    boxes(0, "b", 1)
    boxes(1, "b", 2)
    boxes(1, "c", 1)
    first, _, after, again = (output.hidden for output, _ in outputs)
    assert torch.equal(first, again), "a new stream has no previous frame"
    assert not torch.allclose(first[:, :, :8], after[:, :, :8]), "the previous frame is attended to"
