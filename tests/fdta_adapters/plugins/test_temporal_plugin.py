"""Temporal adapter on trackers with a history (MOTIP) and with track queries (MOTR)."""

from dataclasses import replace

import pytest
import torch

from _helpers import fdta_reference as reference
from _helpers.trackers.tracker_cases import EAGER, batches, make, synthetic
from fdta_adapters import TemporalAdapterPlugin
from mot_core.plugins import Plugins
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec, TrackState
from mot_core.trackers.motr import track_queries


def temporal(**options):
    return TemporalAdapterPlugin(**({"layers": 2, "num_heads": 2, "dropout": 0.0} | options))


def attached(name, plugin=None, **options):
    tracker = make(name, plugin or temporal(), **options)
    tracker.setup()
    reference.randomize(tracker.plugins, scale=0.3)
    return tracker


def stream(tracker, **options):
    data = synthetic(**options)
    data.setup("validate")
    return [tracker.track(batch) for batch in data.val_dataloader()]


def test_training_refines_the_history_and_nothing_else():
    """MOTIP sees refined histories, unrefined detections, and zeros where an object was missing."""
    tracker, seen = attached("motip"), []
    adapter = tracker.plugins["fdta_temporal"].adapter
    tracker.trajectory_model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tracker.id_decoder.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    given = []
    adapter.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
    tracker.losses(batches()[0])
    (history, missing), (refined, current) = given[0], seen
    assert torch.equal(refined, adapter(history, missing))
    assert not refined[missing].any()
    assert not torch.equal(current.embeddings, refined.transpose(1, 2))
    assert history.shape[2] == 3, "one pass over the whole clip"


def test_tracking_recomputes_the_window():
    """The memory keeps unrefined embeddings, and every frame refines the whole window once."""
    tracker, given = attached("motip", **EAGER["motip"]).eval(), []
    adapter = tracker.plugins["fdta_temporal"].adapter
    adapter.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
    memory = []
    update = tracker.memory.update
    tracker.memory.update = lambda embeddings, *rest: memory.append(embeddings) or update(embeddings, *rest)
    found = stream(tracker, num_val_videos=1)
    assert any(len(frame.ids) for frame in found)
    assert [history.shape[2] for history, _ in given] == list(range(1, 6))
    last, missing = given[-1]
    for time in range(5):
        rows = last[0, ~missing[0, :, time], time]
        assert all((memory[time] == row).all(-1).any() for row in rows), "stored unrefined"


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_reset_isolates_sequences(name):
    tracker = attached(name, **EAGER[name]).eval()
    both = stream(tracker)
    again = stream(tracker)
    for one, other in zip(both, again, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.scores, other.scores)


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_closed_gate_keeps_the_tracker_bit_identical(name, monkeypatch):
    monkeypatch.setattr(track_queries, "MIN_IOU", -1.0)
    batch = batches()[0]
    found = []
    for plugins in ([], [temporal(residual="gated")]):
        tracker = make(name, *plugins, **EAGER[name])
        losses, _ = tracker.losses(batch)
        tracks = stream(tracker.eval())
        found.append([value for key, value in losses.items() if "/" not in key] + [one.scores for one in tracks])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_it_acts_on_the_next_frame_of_motr(monkeypatch):
    monkeypatch.setattr(track_queries, "MIN_IOU", -1.0)
    batch = batches()[0]
    (_, without), (_, refined) = make("motr").losses(batch), attached("motr").losses(batch)
    same = [torch.equal(one.logits, other.logits) for one, other in zip(without.frames, refined.frames, strict=True)]
    assert same == [True, True, False], "frame 1 has a past for the first time, and changes the queries of frame 2"


WIDTH = 8


class Script:
    """Hook calls of a tracker with track queries, for scripted slots."""

    def __init__(self, training=True, **options):
        plugin = temporal(**options)
        self.plugins = Plugins(plugin)
        self.plugins.setup(TrackerSpec("scripted", frozenset({"embeddings", "track_queries"}), embed_dim=WIDTH))
        self.adapter = reference.randomize(plugin, scale=0.3).adapter
        self.plugins.train(training)
        self.training = training
        self.start()

    def start(self):
        self.ctx = self.plugins.start_clip(training=self.training)
        self.time = 0

    def frame(self, embeddings, carried, matched, kept, misses=None):
        """Process a frame; return the embeddings of its slots and those of the tracks.

        ``carried`` has the identity of each slot, ``matched`` whether it has an object, and ``kept`` the identity of
        each slot afterwards.
        """
        slots, ids = len(embeddings), torch.tensor([carried])
        frame = FrameOutput(
            torch.rand(1, slots, 4), torch.zeros(1, slots, 1), torch.ones(1, slots).bool(), torch.ones(1, 2),
            torch.tensor([self.time]), ids >= 0, ids, torch.where(torch.tensor([matched]), 0, -1), embeddings[None],
        )  # fmt: skip
        here = self.ctx.at(self.time)
        self.time += 1
        frame = self.plugins.on_embeddings(frame, here)
        order = [slot for slot in range(slots) if kept[slot] >= 0]
        tracks = TrackState(
            torch.tensor([[kept[slot] for slot in order]]), torch.ones(1, len(order)).bool(),
            misses=None if misses is None else torch.tensor([[misses[slot] for slot in order]]),
            embeddings=frame.embeddings[:, order],
        )  # fmt: skip
        return frame.embeddings[0], self.plugins.on_tracks_update(frame, tracks, here).embeddings[0]


def last_token(script, rows, missing):
    return script.adapter(torch.stack(rows)[None], torch.tensor([missing]))[0, -1]


@pytest.fixture
def x():
    return torch.randn(5, 3, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
def test_history_of_tracks(x, training):
    """Births are unrefined; later, the last token over the unrefined past replaces the embedding of a track."""
    script = Script(training)
    kept = None if training else [0, 0, 0]
    slots, tracks = script.frame(x[0], [-1, -1, -1], [True, True, False], [7, 9, -1], kept)
    assert torch.equal(slots, x[0])
    assert torch.equal(tracks, x[0, :2])
    slots, tracks = script.frame(x[1], [-1, 7, 9], [True, True, True], [11, 7, 9], kept)
    assert torch.equal(slots[0], x[1, 0])
    torch.testing.assert_close(slots[1], last_token(script, [x[0, 0], x[1, 1]], [False, False]))
    torch.testing.assert_close(slots[2], last_token(script, [x[0, 1], x[1, 2]], [False, False]))
    assert torch.equal(tracks, slots)
    slots, _ = script.frame(x[2], [9, 11, 7], [True, True, True], [9, 11, 7], kept)
    torch.testing.assert_close(slots[0], last_token(script, [x[0, 1], x[1, 2], x[2, 0]], [False] * 3))
    zero = torch.zeros(WIDTH)
    torch.testing.assert_close(slots[1], last_token(script, [zero, x[1, 0], x[2, 1]], [True, False, False]))


def test_objects_that_have_left_are_missing(x):
    """In training, a track without an object in a frame adds a missing row; in tracking, one that was missed."""
    for training, matched, misses in ((True, [False, True, True], None), (False, [False] * 3, [1, 0, 0])):
        script = Script(training)
        script.frame(x[0], [-1, -1, -1], [True] * 3, [4, 5, 6], None if training else [0, 0, 0])
        script.frame(x[1], [4, 5, 6], matched, [4, 5, 6], misses)
        slots, _ = script.frame(x[2], [4, 5, 6], [True] * 3, [4, 5, 6], None if training else [0, 0, 0])
        wanted = last_token(script, [x[0, 0], x[1, 0], x[2, 0]], [False, True, False])
        torch.testing.assert_close(slots[0], wanted)
        wanted = last_token(script, [x[0, 1], x[1, 1], x[2, 1]], [False] * 3)
        torch.testing.assert_close(slots[1], wanted)


def test_track_that_was_dropped_starts_without_a_past(x):
    script = Script()
    script.frame(x[0], [-1, -1, -1], [True] * 3, [4, 5, -1])
    script.frame(x[1], [4, 5, -1], [True] * 3, [-1, 5, -1])
    script.frame(x[2], [5, -1, -1], [True] * 3, [5, 4, -1])  # detected again
    slots, _ = script.frame(x[3], [5, 4, -1], [True] * 3, [5, 4, -1])
    rows = [torch.zeros(WIDTH), torch.zeros(WIDTH), x[2, 1], x[3, 1]]
    torch.testing.assert_close(slots[1], last_token(script, rows, [True, True, False, False]))


def test_window_and_restart(x):
    script = Script(window=3)
    for time in range(5):
        slots, _ = script.frame(x[time], [4 if time else -1, -1, -1], [True] * 3, [4, -1, -1])
    torch.testing.assert_close(slots[0], last_token(script, [x[2, 0], x[3, 0], x[4, 0]], [False] * 3))
    script.start()
    slots, _ = script.frame(x[0], [4, -1, -1], [True] * 3, [4, -1, -1])
    assert torch.equal(slots, x[0]), "another clip has no past"


def test_gradient_reaches_the_past(x):
    script = Script()
    first = x[0].clone().requires_grad_()
    script.frame(first, [-1, -1, -1], [True] * 3, [4, 5, 6])
    slots, _ = script.frame(x[1], [4, 5, 6], [True] * 3, [4, 5, 6])
    slots[1].square().sum().backward()
    assert first.grad[1].any()
    assert not first.grad[[0, 2]].any(), "tracks are independent"


def test_clips_of_a_batch_are_independent():
    tracker = attached("motr")
    batch = batches()[0]
    plugin = tracker.plugins["fdta_temporal"]
    ctx = tracker.plugins.start_clip(training=True)
    x = torch.randn(3, 2, 4, tracker.detector.embed_dim)
    ids = torch.tensor([[3, 5, -1, -1], [5, 3, 8, -1]])
    found = []
    for time in range(3):
        carried = ids if time else torch.full_like(ids, -1)
        frame = FrameOutput(
            torch.rand(2, 4, 4), torch.zeros(2, 4, 1), ids > -2, torch.ones(2, 2), torch.zeros(2).long(), carried >= 0,
            carried, torch.zeros_like(ids), x[time],
        )  # fmt: skip
        here = ctx.at(time)
        frame = tracker.plugins.on_embeddings(frame, here)
        found.append(frame.embeddings)
        tracks = TrackState(ids, ids >= 0, embeddings=frame.embeddings)
        tracker.plugins.on_tracks_update(frame, tracks, here)
    assert len(batch) == 2
    for clip, slot in ((0, 0), (0, 1), (1, 0), (1, 2)):
        tokens = x[:, clip, slot][None]
        wanted = plugin.adapter(tokens, torch.zeros(1, 3).bool())[0, -1]
        torch.testing.assert_close(found[2][clip, slot], wanted)
    assert torch.equal(found[2][0, 2:], x[2, 0, 2:])


def test_every_parameter_is_in_the_graph_of_a_clip_without_tracks():
    tracker = attached("motr")
    plugin = tracker.plugins["fdta_temporal"]
    ctx = tracker.plugins.start_clip(training=True)
    frame = FrameOutput(
        torch.rand(1, 2, 4), torch.zeros(1, 2, 1), torch.ones(1, 2).bool(), torch.ones(1, 2), torch.zeros(1).long(),
        embeddings=torch.randn(1, 2, 32, requires_grad=True),
    )  # fmt: skip
    frame = tracker.plugins.on_embeddings(frame, ctx.at(0))
    tracker.plugins.losses(ClipOutput([frame]), ctx)["fdta_temporal/loss"].backward()
    assert all(one.grad is not None for one in plugin.parameters())


def test_half_precision_history():
    plugin = temporal()
    plugins = Plugins(plugin)
    plugins.setup(TrackerSpec("window", frozenset({"embeddings", "history"}), embed_dim=WIDTH))
    plugins.half().eval()
    state = TrackState(
        torch.tensor([[1, 2]]), torch.ones(1, 2).bool(), history=torch.randn(1, 2, 4, WIDTH).half(),
        history_valid=torch.rand(1, 2, 4) < 0.6,
    )  # fmt: skip
    ctx = plugins.start_clip(training=False).at(0)
    refined = plugins.on_tracks_update(None, state, ctx)
    assert refined.history.dtype == torch.float16
    empty = replace(
        state, ids=state.ids[:, :0], valid=state.valid[:, :0], history=state.history[:, :0],
        history_valid=state.history_valid[:, :0],
    )  # fmt: skip
    assert plugins.on_tracks_update(None, empty, plugins.start_clip(training=False).at(0)).history.shape == (1, 0, 4, 8)


def test_invalid_window():
    with pytest.raises(ValueError, match="window: expected at least 2 frames, got 1"):
        temporal(window=1)
