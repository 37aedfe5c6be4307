"""Life cycle of tracks in MOTR, with scripted detector scores."""

import pytest
import torch

from _helpers.trackers.motr_clips import batch_of, images_of, tiny_motr
from _helpers.trackers.scripted_detector import Script
from mot_core.plugins import Plugin


def tracking_motr(*plugins, **arguments):
    return tiny_motr(*plugins, **arguments).float().eval()


def test_track_life_cycle():
    tracker = tracking_motr(miss_tolerance=2)
    script = Script(
        tracker,
        ({3: 0.9, 5: 0.8, 6: 0.69}, {}),  # two births
        ({2: 0.95}, {0: 0.9, 1: 0.65}),  # a third birth; track 1 has a medium score: neither missed nor reported
        ({}, {0: 0.9, 1: 0.5, 2: 0.9}),  # track 1 is missed once
        ({}, {0: 0.9, 1: 0.65, 2: 0.3}),  # medium score again: its miss count is kept
        ({}, {0: 0.9, 1: 0.5, 2: 0.8}),  # missed twice: track 1 ends; track 2 is back, its miss count is reset
        ({1: 0.7}, {0: 0.9, 1: 0.99, 2: 0.3}),  # identities are not reused
        ({}, {0: 0.71, 2: 0.5, 3: 0.71}),
    )
    # New tracks precede older ones.
    assert script.play() == [[0, 1], [2, 0], [2, 0], [0], [2, 0], [0], [3, 0]]


def test_report_threshold_and_min_area():
    tracker = tracking_motr(birth_threshold=0.5, keep_threshold=0.4, report_threshold=0.7, min_area=100)
    assert Script(tracker, ({1: 0.6, 2: 0.8}, {})).play() == [[1]]
    # The original frames are 10 times as large as the network input: 640 x 960.
    side = (101 / (640 * 960)) ** 0.5
    assert Script(tracker, ({1: 0.9}, {}), box=(0.5, 0.5, side, side)).play("large") == [[0]]
    side = (99 / (640 * 960)) ** 0.5
    assert Script(tracker, ({1: 0.9}, {}), box=(0.5, 0.5, side, side)).play("small") == [[]]


def test_new_streams_and_empty_frames():
    tracker = tracking_motr()
    assert Script(tracker, ({1: 0.9}, {}), ({}, {0: 0.9})).play("a") == [[0], [0]]
    assert Script(tracker, ({}, {}), ({4: 0.9}, {}), ({}, {0: 0.8})).play("b") == [[], [0], [0]]
    assert Script(tracker, ({}, {0: 0.9})).play("b") == [[]], "the frame number did not increase"


def test_scores_boxes_and_classes():
    tracker = tracking_motr()
    Script(tracker, ({1: 0.9}, {}), classes=3)
    tracks = tracker.track(batch_of(images_of(0, 1)))
    assert tracks.classes.tolist() == [2]
    assert tracks.scores.tolist() == pytest.approx([0.9])
    torch.testing.assert_close(tracks.boxes_xyxy, torch.tensor([[0.3 * 960, 0.3 * 640, 0.7 * 960, 0.7 * 640]]))


class OptionsPlugin(Plugin):
    """Plug-in that requests options and applies a function to the tracks."""

    name = "wants"

    def __init__(self, options, change=lambda frame, tracks: tracks):
        super().__init__()
        self.options, self.change, self.seen = options, change, []

    def setup(self, spec):
        return self.options

    def on_tracks_update(self, frame, tracks, ctx):
        self.seen.append(tracks)
        return self.change(frame, tracks)


def test_keep_rule_of_a_plugin():
    tracker = tracking_motr(OptionsPlugin({"keep_rule": "plugin"}), miss_tolerance=1)
    assert Script(tracker, ({1: 0.9}, {}), ({}, {0: 0.1}), ({}, {0: 0.9})).play() == [[0], [], [0]]


def test_births_by_a_plugin():
    plugin = OptionsPlugin({"birth": "plugin"})
    tracker = tracking_motr(plugin)
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
    with pytest.raises(ValueError, match="expected tracks with boxes_cxcywh and scores"):
        Script(tracker, ({1: 0.9}, {})).play("wrong")


def test_query_update_by_a_plugin():
    plugin = OptionsPlugin({"query_update": "plugin"})
    tracker = tracking_motr(plugin)
    Script(tracker, ({3: 0.9}, {})).play()
    own = tracker.detector.query_embed.weight[3]
    assert torch.equal(plugin.seen[0].queries[0, 0], own), "the queries from which the frame was decoded"
    plugin = OptionsPlugin({})
    Script(tracking_motr(plugin), ({3: 0.9}, {})).play()
    assert not torch.allclose(plugin.seen[0].queries[0, 0], own)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"drop": 1.5}, "drop: expected a probability"),
        ({"insert": -0.1}, "insert: expected a probability"),
        ({"miss_tolerance": 0}, "miss_tolerance: expected at least 1"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, words):
    with pytest.raises(ValueError, match=words):
        tiny_motr(**arguments)
