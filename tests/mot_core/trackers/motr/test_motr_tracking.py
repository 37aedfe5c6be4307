"""The life of a track, on a detector whose scores are written down."""

import pytest
import torch

from _helpers.trackers.motr_clips import batch_of, images_of, tiny_motr
from mot_core.nn import DetectorOutput
from mot_core.plugins import Plugin
from mot_core.structures import FeaturePyramid

SLOTS = 8


class Script:
    """In place of the detector: in each frame scores of object slots by number and of tracks by identity, else 0.1."""

    def __init__(self, tracker, *frames, classes=1, box=(0.5, 0.5, 0.4, 0.4)):
        self.frames, self.tracker, self.classes, self.box = list(frames), tracker, classes, box
        tracker.detect = self

    def __call__(self, images, padding, ctx, tracks=None):
        objects, known = self.frames.pop(0)
        ids = [] if tracks is None else tracks.ids[0].tolist()
        scores = [objects.get(slot, 0.1) for slot in range(SLOTS)] + [known.get(one, 0.1) for one in ids]
        slots = len(scores)
        logits = torch.full((2, 1, slots, self.classes), -9.0)
        logits[-1, 0, :, -1] = torch.tensor(scores).logit()
        boxes = torch.tensor(self.box).expand(2, 1, slots, 4)
        hidden = torch.zeros(2, 1, slots, 32)
        return DetectorOutput(logits, boxes, hidden, [boxes[0]] * 2), FeaturePyramid((), ())

    def play(self, name="stream"):
        """What is reported in every frame: identities."""
        images = images_of(0, 1)
        count = len(self.frames)
        return [
            self.tracker.track(batch_of(images, name=name, first=number + 1)).ids.tolist() for number in range(count)
        ]


def online(*plugins, **arguments):
    return tiny_motr(*plugins, **arguments).float().eval()


def test_birth_follow_miss_and_end():
    tracker = online(miss_tolerance=2)
    script = Script(
        tracker,
        ({3: 0.9, 5: 0.8, 6: 0.69}, {}),  # two are born
        ({2: 0.95}, {0: 0.9, 1: 0.65}),  # a third one; track 1 is doubtful: neither missed nor reported
        ({}, {0: 0.9, 1: 0.5, 2: 0.9}),  # track 1 is missed once
        ({}, {0: 0.9, 1: 0.65, 2: 0.3}),  # doubtful again: its miss is not forgotten
        ({}, {0: 0.9, 1: 0.5, 2: 0.8}),  # missed twice: it ends; track 2 is back, its miss is forgotten
        ({1: 0.7}, {0: 0.9, 1: 0.99, 2: 0.3}),  # no identity is given twice
        ({}, {0: 0.71, 2: 0.5, 3: 0.71}),
    )
    # Newborn tracks stand before older ones.
    assert script.play() == [[0, 1], [2, 0], [2, 0], [0], [2, 0], [0], [3, 0]]


def test_births_are_reported_only_above_the_threshold_and_with_area():
    tracker = online(birth_threshold=0.5, keep_threshold=0.4, report_threshold=0.7, min_area=100)
    assert Script(tracker, ({1: 0.6, 2: 0.8}, {})).play() == [[1]]
    # The original frames are 10 times as large as the network input: 640 x 960.
    side = (101 / (640 * 960)) ** 0.5
    assert Script(tracker, ({1: 0.9}, {}), box=(0.5, 0.5, side, side)).play("large") == [[0]]
    side = (99 / (640 * 960)) ** 0.5
    assert Script(tracker, ({1: 0.9}, {}), box=(0.5, 0.5, side, side)).play("small") == [[]]


def test_a_new_stream_starts_from_0_and_empty_frames_are_frames():
    tracker = online()
    assert Script(tracker, ({1: 0.9}, {}), ({}, {0: 0.9})).play("a") == [[0], [0]]
    assert Script(tracker, ({}, {}), ({4: 0.9}, {}), ({}, {0: 0.8})).play("b") == [[], [0], [0]]
    assert Script(tracker, ({}, {0: 0.9})).play("b") == [[]], "the number of the frame did not rise"


def test_scores_boxes_and_classes():
    tracker = online()
    Script(tracker, ({1: 0.9}, {}), classes=3)
    tracks = tracker.track(batch_of(images_of(0, 1)))
    assert tracks.classes.tolist() == [2]
    assert tracks.scores.tolist() == pytest.approx([0.9])
    torch.testing.assert_close(tracks.boxes_xyxy, torch.tensor([[0.3 * 960, 0.3 * 640, 0.7 * 960, 0.7 * 640]]))


class Wants(Plugin):
    """Asks for options, and does with the tracks what it is told."""

    name = "wants"

    def __init__(self, options, change=lambda frame, tracks: tracks):
        super().__init__()
        self.options, self.change, self.seen = options, change, []

    def setup(self, spec):
        return self.options

    def on_tracks_update(self, frame, tracks, ctx):
        self.seen.append(tracks)
        return self.change(frame, tracks)


def test_a_plugin_keeps_tracks():
    tracker = online(Wants({"keep_rule": "plugin"}), miss_tolerance=1)
    assert Script(tracker, ({1: 0.9}, {}), ({}, {0: 0.1}), ({}, {0: 0.9})).play() == [[0], [], [0]]


def test_a_plugin_lets_tracks_be_born():
    plugin = Wants({"birth": "plugin"})
    tracker = online(plugin)
    assert Script(tracker, ({1: 0.9}, {}), ({1: 0.9}, {})).play() == [[], []]

    def born(frame, tracks):
        ids = torch.tensor([[7]])
        best = frame.logits[..., 0].argmax(1, keepdim=True)
        return type(tracks)(
            ids, ids > 0, frame.boxes_cxcywh.gather(1, best[..., None].expand(-1, -1, 4)),
            frame.logits[..., 0].gather(1, best).sigmoid(), torch.zeros_like(ids),
            queries=torch.zeros(1, 1, 64), ref_logits=torch.zeros(1, 1, 2),
        )  # fmt: skip

    plugin.change = born
    assert Script(tracker, ({1: 0.9}, {}), ({}, {7: 0.8})).play("again") == [[7], [7]]
    plugin.change = lambda frame, tracks: type(tracks)(tracks.ids, tracks.valid)
    with pytest.raises(ValueError, match="without boxes_cxcywh or scores"):
        Script(tracker, ({1: 0.9}, {})).play("wrong")


def test_a_plugin_updates_queries():
    plugin = Wants({"query_update": "plugin"})
    tracker = online(plugin)
    Script(tracker, ({3: 0.9}, {})).play()
    own = tracker.detector.query_embed.weight[3]
    assert torch.equal(plugin.seen[0].queries[0, 0], own), "those with which the frame was decoded"
    plugin = Wants({})
    Script(online(plugin), ({3: 0.9}, {})).play()
    assert not torch.allclose(plugin.seen[0].queries[0, 0], own)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"drop": 1.5}, "drop must be a probability"),
        ({"insert": -0.1}, "insert must be a probability"),
        ({"miss_tolerance": 0}, "miss_tolerance must be at least 1"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        tiny_motr(**arguments)
