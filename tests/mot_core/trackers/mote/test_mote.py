"""MOTE: motion of the scene in training and tracking, weights of MOTR, and replaceable flow."""

import pytest
import torch

from _helpers.trackers.motr_clips import (
    assert_batch_equals_clips,
    batch_of,
    follow,
    images_of,
    make_two,
    seen_clip,
    tiny_mote,
    tiny_motr,
    tracks_in,
)
from mot_core.nn import WrappedFlow
from mot_core.trackers import Tracker
from mot_core.trackers.mote.tracker import MOTION


def constant(dx, dy):
    """Return a flow that is the same everywhere."""

    def flow(previous, current):
        return current.new_tensor([dx, dy])[None, :, None, None].expand(len(current), 2, *current.shape[2:])

    return flow


def test_tracks_follow_the_motion():
    """The flow changes the queries of the second frame's tracks, hence the third frame's boxes."""
    tracker = tiny_mote(drop=0, insert=0)
    batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1]])
    still = [frame.boxes_cxcywh for frame, _, _ in follow(tracker, batch)]
    tracker.use_flow(constant(40.0, -8.0))
    moving = [frame.boxes_cxcywh for frame, _, _ in follow(tracker, batch)]
    assert torch.equal(still[0], moving[0])
    assert torch.equal(still[1], moving[1]), "the first frame has no flow"
    assert not torch.allclose(still[2][:, 8:], moving[2][:, 8:])


def test_flow_receives_consecutive_frames_without_padding():
    tracker, seen = tiny_mote(drop=0, insert=0), []
    tracker.use_flow(lambda previous, current: seen.append((previous, current)) or torch.zeros_like(current[:, :2]))
    batch = seen_clip(tracker, [[0], [0], [0]])
    batch.padding[:, :, 80:] = True
    seen.clear()
    follow(tracker, batch)
    assert len(seen) == 2
    for time, (previous, current) in enumerate(seen):
        assert torch.equal(previous[..., :80], batch.images[:, time, ..., :80])
        assert torch.equal(current[..., :80], batch.images[:, time + 1, ..., :80])
        assert not current[..., 80:].any()


def test_streams_are_separate():
    tracker, count = tiny_mote(drop=0, insert=0).eval(), []
    tracker.use_flow(lambda previous, current: count.append(1) or torch.zeros_like(current[:, :2]))
    images = images_of(0, 2)
    for name, first in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3), ("c", 1)):
        tracker.track(batch_of(images[:, :1], name=name, first=first))
    assert len(count) == 3, "the first frame of a stream has no flow"
    assert MOTION in tracker._tracking.store


def test_gradient_of_the_motion():
    tracker = tiny_mote(drop=0, insert=0, flow="lucas_kanade")
    losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0, 1], [0, 1]]))
    sum(losses.values()).backward()
    assert tracker.query_interaction.motion.weight.grad.any()
    named = tracker.named_parameters()
    assert not [name for name, one in named if one.requires_grad and (one.grad is None or one.grad.isnan().any())]


@pytest.mark.parametrize("schedule", [[[0]], [[], [], []], [[-1, 4], [4], [-1]]])
def test_empty_frames(schedule):
    tracker = tiny_mote(flow="lucas_kanade")
    losses, _ = tracker.losses(seen_clip(tracker, schedule))
    sum(losses.values()).backward()
    named = tracker.named_parameters()
    assert not [name for name, one in named if one.requires_grad and (one.grad is None or one.grad.isnan().any())]


def test_batch_of_two_clips_matches_single_clips():
    tracker = tiny_mote(drop=0.3, insert=0.6, flow="lucas_kanade")
    assert_batch_equals_clips(tracker, make_two(tracker), loss_rtol=1e-9)


def test_checkpointing_changes_no_result():
    found = []
    for checkpointing in (False, True):
        tracker = tiny_mote(drop=0, insert=1.0, flow="lucas_kanade", checkpointing=checkpointing)
        losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0], [0, 1]]))
        sum(losses.values()).backward()
        found.append([*losses.values(), *(one.grad for one in tracker.parameters() if one.grad is not None)])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_training_and_tracking_have_the_same_motion():
    tracker = tiny_mote(drop=0, insert=0, flow="lucas_kanade", birth_threshold=0.0, keep_threshold=0.0)
    assert tracks_in(follow(tracker, seen_clip(tracker, [[0], [0]]))) == [[], [0]]
    images, motions = images_of(3, 2), []
    ctx = tracker.plugins.start_clip(training=True)
    for time in range(2):
        tracker.detect(images[:, time], batch_of(images).padding, ctx.at(time))
        motions.append(ctx.store[MOTION].detach())
    tracker.eval()
    for time in range(2):
        tracker.track(batch_of(images[:, time : time + 1], first=time + 1))
        torch.testing.assert_close(tracker._tracking.store[MOTION], motions[time])


def test_weights_of_motr():
    """A released MOTR is the initialization; only the projection of the motion stays new."""
    source, target = tiny_motr(seed=1), tiny_mote(seed=2)
    names = {f"query_interaction.{name}" for name in ("motion.weight", "motion.bias")}
    assert set(target.state_dict()) == set(source.state_dict()) | names
    missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
    assert set(missing) == names
    assert not unexpected


def test_functions_are_not_stored(tmp_path):
    tracker, content = tiny_mote(flow="lucas_kanade"), {}
    tracker.use_flow(constant(1.0, 2.0))
    assert isinstance(tracker.flow, WrappedFlow)
    tracker.on_save_checkpoint(content)
    torch.save({**content, "state_dict": tracker.float().state_dict()}, tmp_path / "a.ckpt")
    again = Tracker.from_checkpoint(tmp_path / "a.ckpt")
    assert type(again.flow).__name__ == "LucasKanade"
    assert Tracker.from_checkpoint(tmp_path / "a.ckpt", flow="zero").arguments["flow"] == "zero"


def test_unknown_flow():
    with pytest.raises(ValueError, match="flow: expected 'zero', 'lucas_kanade', 'raft' or 'raft:PATH', got 'raftt'"):
        tiny_mote(flow="raftt")
