"""Training of MOTR on clips: tracks, losses and gradients."""

from dataclasses import replace

import pytest
import torch

from _helpers.trackers.motr_clips import (
    assert_batch_equals_clips,
    assert_gradient_is_the_weighted_mean,
    batch_of,
    follow,
    images_of,
    make_two,
    merge,
    seen_clip,
    targets_of,
    tiny_motr,
    tracks_in,
)
from mot_core.plugins import Plugin
from mot_core.trackers.motr.track_queries import next_ids


def test_returning_objects_keep_their_track():
    tracker = tiny_motr(drop=0, insert=0)
    steps = follow(tracker, seen_clip(tracker, [[0, 1], [0], [], [0, 1, 2], [2]]))
    assert [sorted(ids) for ids in tracks_in(steps)] == [[], [0, 1], [0, 1], [0, 1], [0, 1, 2]]
    assert [count.item() for *_, count in steps] == [2, 2, 2, 3, 3]
    for time, frame in enumerate(frame for frame, _, _ in steps[1:]):
        assert (frame.gt_index[frame.is_track] >= 0).sum() == [1, 0, 2, 1][time]
    # A returning object is matched to its track, a new one to a free slot.
    back = steps[3][0]
    assert back.gt_index[0][(back.track_ids == 1)[0]] == 1
    assert (back.gt_index[0] == 2).nonzero().item() < 8


def test_misplaced_tracks_are_dropped():
    tracker = tiny_motr(drop=0, insert=0)
    batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1]])
    moved = batch.targets[1].boxes_cxcywh.clone()
    moved[0, 0] = torch.tensor([0.9, 0.9, 0.02, 0.02])
    targets = batch.targets[0], replace(batch.targets[1], boxes_cxcywh=moved), batch.targets[2]
    assert tracks_in(follow(tracker, replace(batch, targets=targets)))[1:] == [[0, 1], [1]]


def test_dropped_tracks_and_false_positives():
    tracker = tiny_motr(drop=1.0, insert=1.0)
    assert tracks_in(follow(tracker, seen_clip(tracker, [[0, 1], [0, 1]]))) == [[], []]
    tracker = tiny_motr(drop=0.0, insert=1.0)
    batch = seen_clip(tracker, [[0, 1, 2], [0, 1, 2]])
    first, second = (frame for frame, _, _ in follow(tracker, batch))
    carried = second.track_ids[second.is_track].tolist()
    assert carried[:3] == [0, 1, 2]
    assert set(carried[3:]) == {-1}
    assert (first.gt_index >= 0).sum() == 3
    # They are background, or match an object without a track.
    assert (second.gt_index[0, -(len(carried) - 3) :] == -1).all()
    assert tracks_in(follow(tracker.eval(), batch))[1] == [0, 1, 2], "no random draws in evaluation"


def test_loss_weights():
    plain, weighted = tiny_motr(), tiny_motr(class_weight=3.0, l1_weight=0.5, giou_weight=0.0)
    weighted.load_state_dict(plain.state_dict())
    batch = seen_clip(plain, [[0, 1], [0, 1, 2]])
    before, after = plain.losses(batch)[0], weighted.losses(batch)[0]
    for name, factor in {"class": 3.0 / 2, "l1": 0.5 / 5, "giou": 0.0}.items():
        for key in (name, f"aux_{name}"):
            assert before[key] > 0
            torch.testing.assert_close(after[key], factor * before[key])
    with pytest.raises(ValueError, match="l1_weight: expected"):
        tiny_motr(l1_weight=-1.0)


@pytest.mark.parametrize("schedule", [[[0]], [[], [], []], [[], [3], [3]], [[2], [], []], [[-1, 4], [4], [-1]]])
def test_empty_frames_and_single_objects(schedule):
    tracker = tiny_motr()
    batch = seen_clip(tracker, schedule)
    losses, clip = tracker.losses(batch)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert len(clip.frames) == len(schedule)
    assert not any((frame.track_ids[frame.is_track] < -1).any() for frame in clip.frames)
    # Distributed training needs the gradient of every parameter, even without tracks.
    named = tracker.named_parameters()
    assert not [name for name, one in named if one.requires_grad and (one.grad is None or one.grad.isnan().any())]


def test_divisor_of_the_losses():
    tracker = tiny_motr(drop=0, insert=0)
    batch = seen_clip(tracker, [[0, 1], [0], [0, 2]])
    steps = follow(tracker, batch)
    losses, clip = tracker.losses(batch)
    weights = {"class": 2, "l1": 5, "giou": 2}
    for name, weight in weights.items():
        last = sum(layers[-1][name] for _, layers, _ in steps)
        assert losses[name].item() == pytest.approx(weight * last.item() / 7), "5 objects, 2 frames without object 1"
        earlier = sum(layers[0][name] for _, layers, _ in steps)
        assert losses[f"aux_{name}"].item() == pytest.approx(weight * earlier.item() / 7)
    assert clip.targets is batch.targets
    assert [frame.time.item() for frame in clip.frames] == [1, 2, 3]


def test_batch_of_two_clips_matches_single_clips():
    """Random draws are equal too, so that training in several processes equals training in one."""
    tracker = tiny_motr(drop=0.3, insert=0.6)
    alone = make_two(tracker)
    assert_batch_equals_clips(tracker, alone, loss_rtol=1e-9)


def test_gradient_of_a_batch_is_the_weighted_mean():
    tracker = tiny_motr(drop=0.3, insert=0.6)
    alone = make_two(tracker)

    assert_gradient_is_the_weighted_mean(tracker, alone)


def test_random_draws_depend_on_step_and_seed():
    tracker = tiny_motr(drop=0.5, insert=0.5)
    batch = seen_clip(tracker, [[0, 1, 2, 3, 4, 5, 6, 7]] * 2)

    def drawn(step, tracker=tracker):
        return tracks_in(follow(tracker, batch, step))[1]

    assert drawn(0) == drawn(0) == drawn(0, tiny_motr(drop=0.5, insert=0.5))
    assert len({tuple(drawn(step)) for step in range(5)}) > 2
    others = [drawn(0, tiny_motr(drop=0.5, insert=0.5)) for _ in range(1)]
    tracker.seed = 1
    assert drawn(0) != others[0]


def test_checkpointing_changes_no_result():
    found = []
    for checkpointing in (False, True):
        tracker = tiny_motr(drop=0, insert=1.0, checkpointing=checkpointing)
        losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0], [0, 1]]))
        sum(losses.values()).backward()
        found.append([*losses.values(), *(one.grad for one in tracker.parameters() if one.grad is not None)])
    assert len(found[0]) == len(found[1])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_gradient_through_tracks_to_earlier_frames():
    tracker = tiny_motr(drop=0, insert=0)
    batch = seen_clip(tracker, [[0, 1], [0, 1]])
    images = batch.images.requires_grad_()
    last = follow(tracker, batch)[-1][1][-1]
    last["l1"].backward()
    assert images.grad[0, 0].abs().sum() > 0
    assert tracker.query_interaction.position_update.layers[0].weight.grad.abs().sum() > 0


def test_objects_without_identity_get_no_track():
    tracker = tiny_motr(drop=0, insert=0)
    batch = seen_clip(tracker, [[0, 1], [0, 1]])
    unknown = replace(batch.targets[0], ids=torch.tensor([[0, -1]]))
    steps = follow(tracker, replace(batch, targets=(unknown, batch.targets[1])))
    assert (steps[0][0].gt_index >= 0).sum() == 2
    assert tracks_in(steps)[1] == [0]
    assert next_ids(steps[0][0], unknown).max() == 0


def test_clips_without_ground_truth_are_rejected():
    with pytest.raises(ValueError, match="clip have no ground truth"):
        tiny_motr().losses(batch_of(images_of(1, 2)))


def test_non_finite_targets_are_rejected():
    tracker = tiny_motr()
    wrong = targets_of({0: torch.tensor([float("nan")] * 4, dtype=torch.float64)})
    with pytest.raises(ValueError, match="not finite"):
        tracker.losses(batch_of(images_of(1, 1), [wrong]))


class RecordingPlugin(Plugin):
    """Plug-in that requests options and records the tracks of every frame."""

    name = "asks"

    def __init__(self, **options):
        super().__init__()
        self.options, self.seen = options, []

    def setup(self, spec):
        return self.options

    def on_tracks_update(self, frame, tracks, ctx):
        self.seen.append(tracks)
        return tracks


def test_supervision_of_all_objects():
    tracker = tiny_motr(RecordingPlugin(object_supervision="all"), drop=0, insert=1.0)
    batch = seen_clip(tracker, [[0, 1], [0, 1, 2], [0, 1, 2]])
    tracker.plugins["asks"].seen.clear()
    frames = [frame for frame, _, _ in follow(tracker, batch)]
    for frame, objects in zip(frames, (2, 3, 3), strict=True):
        detections = frame.gt_index[0, :8]
        assert sorted(detections[detections >= 0].tolist()) == list(range(objects)), "one slot of each object"
    tracks = [sorted(frame.gt_index[0][(frame.track_ids >= 0)[0]].tolist()) for frame in frames]
    assert tracks == [[], [0, 1], [0, 1, 2]]
    # Only objects without a track start tracks, and no detection of a tracked object becomes a false positive.
    for frame, state in zip(frames[1:], tracker.plugins["asks"].seen[1:], strict=False):
        ids = state.ids[0][state.ids[0] >= 0].tolist()
        assert sorted(ids) == [0, 1, 2]
        false = state.boxes_cxcywh[0][state.ids[0] < 0]
        matched = frame.boxes_cxcywh[0][frame.gt_index[0] >= 0]
        assert not (false[:, None] == matched).all(-1).any()


def test_keep_rule_and_query_update_of_a_plugin():
    batch = seen_clip(tiny_motr(drop=0, insert=0), [[0, 1], [0, 1], [0, 1]])
    moved = torch.tensor([[0.9, 0.9, 0.02, 0.02]]).double()
    targets = tuple(
        replace(one, boxes_cxcywh=torch.cat([moved[None], one.boxes_cxcywh[:, 1:]], 1)) for one in batch.targets
    )
    tracker = tiny_motr(RecordingPlugin(keep_rule="plugin", query_update="plugin"), drop=1.0, insert=1.0)
    frames = [frame for frame, _, _ in follow(tracker, replace(batch, targets=targets))]
    assert [frame.track_ids[frame.is_track].sort().values.tolist() for frame in frames] == [[], [0, 1], [0, 1]]
    slots = (frames[0].gt_index[0] >= 0).nonzero().squeeze(1)
    assert torch.equal(tracker.plugins["asks"].seen[0].queries[0], tracker.detector.query_embed.weight[slots])


class Idle(Plugin):
    """Plug-in with parameters and hooks, but a weight of zero."""

    name = "idle"

    def __init__(self):
        super().__init__(weight=0)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def on_embeddings(self, frame, ctx):
        torch.rand(3)
        return frame

    def on_tracks_update(self, frame, tracks, ctx):
        return replace(tracks)

    def on_clip_loss(self, clip, ctx):
        return {"size": self.scale * sum(frame.boxes_cxcywh.sum() for frame in clip.frames)}


def test_plugin_of_weight_zero_is_bit_identical():
    found = []
    for plugins in ([], [Idle()]):
        tracker = tiny_motr(*plugins, drop=0.3, insert=0.6)
        losses, clip = tracker.losses(merge(*make_two(tracker)))
        sum(losses[name] for name in ("class", "l1", "giou", "aux_class")).backward()
        named = [one for name, one in tracker.named_parameters() if not name.startswith("plugins.")]
        found.append([*(frame.boxes_cxcywh for frame in clip.frames), *(one.grad for one in named), *named])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
