"""Training of MeMOTR on clips: tracks, losses, gradients and batches of clips with different numbers of tracks."""

from dataclasses import replace

import pytest
import torch

from _helpers.trackers.motr_clips import (
    assert_batch_equals_clips,
    assert_gradient_is_the_weighted_mean,
    batch_of,
    follow,
    make_two,
    seen_clip,
    tiny_memotr,
    tracks_in,
)
from mot_core.plugins import Plugin
from mot_core.trackers import DetectorSettings, MeMOTR

NEVER = {"update_threshold": 1.0}  # no false tracks, and queries stay as they are
KINDS = pytest.mark.parametrize("use_dab", [True, False])


@KINDS
def test_tracks_of_a_clip(use_dab):
    """An object that has left loses its track, which stays as a query of its background for one frame."""
    tracker = tiny_memotr(use_dab=use_dab, **NEVER)
    steps = follow(tracker, seen_clip(tracker, [[0, 1], [0], [0, 1], [0, 1, 2]]))
    assert [sorted(ids) for ids in tracks_in(steps)] == [[], [0, 1], [-1, 0], [0, 1]]
    assert [count.item() for *_, count in steps] == [2, 2, 2, 3]
    back = steps[2][0]
    assert back.gt_index[0][back.is_track[0] & (back.track_ids[0] < 0)].tolist() == [-1]
    assert (back.gt_index[0] == 1).nonzero().item() < 8, "a returning object is matched to a free slot"


def test_false_tracks():
    tracker = tiny_memotr(update_threshold=0.0)
    first, second, third = follow(tracker, seen_clip(tracker, [[0, 1], [0, 1], [0, 1]]))
    assert sorted(second[0].track_ids[second[0].is_track].tolist()) == [-1] * 6 + [0, 1], "all slots score above 0"
    assert (first[0].gt_index >= 0).sum() == 2
    assert third[0].is_track.sum() == 16
    false = second[0].is_track & (second[0].track_ids < 0)
    assert (second[0].gt_index[false] == -1).all(), "they are background, and match no object"


def test_misplaced_tracks_lose_their_identity():
    tracker = tiny_memotr(**NEVER)
    batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1]])
    moved = batch.targets[1].boxes_cxcywh.clone()
    moved[0, 0] = torch.tensor([0.9, 0.9, 0.02, 0.02])
    targets = batch.targets[0], replace(batch.targets[1], boxes_cxcywh=moved), batch.targets[2]
    assert sorted(tracks_in(follow(tracker, replace(batch, targets=targets)))[2]) == [-1, 1]


def test_layers_below_the_merge_layer_detect_all_objects():
    tracker = tiny_memotr(**NEVER)
    steps = follow(tracker, seen_clip(tracker, [[0, 1], [0, 1, 2]]))
    frame = steps[1][0]
    early = frame.aux[0]
    assert not early.valid[frame.is_track].any()
    assert (early.valid == ~frame.is_track).all()
    matching = tracker.criterion().match(frame, seen_clip(tracker, [[0, 1], [0, 1, 2]]).targets[1])
    assert sorted(matching[0][matching[0] >= 0].tolist()) == [0, 1, 2]
    assert (matching[0][frame.is_track] == -1).all()
    assert (matching[1][~frame.is_track] >= 0).sum() == 1, "the last layer detects the new object only"


@KINDS
@pytest.mark.parametrize("threshold", [0.0101, 1.0])  # about half of the scores are above the first
def test_batch_of_two_clips_matches_single_clips(use_dab, threshold):
    tracker = tiny_memotr(use_dab=use_dab, update_threshold=threshold)
    alone = make_two(tracker)
    assert_batch_equals_clips(tracker, alone, loss_rtol=1e-6, box_tolerance={"rtol": 1e-6, "atol": 1e-7})


def test_gradient_of_a_batch_is_the_weighted_mean():
    tracker = tiny_memotr(update_threshold=0.0101)
    alone = make_two(tracker)

    assert_gradient_is_the_weighted_mean(tracker, alone, rtol=1e-5, atol=1e-7)


@KINDS
@pytest.mark.parametrize("schedule", [[[0]], [[], [], []], [[], [3], [3]], [[2], [], []], [[-1, 4], [4], [-1]]])
def test_empty_frames_and_single_objects(use_dab, schedule):
    tracker = tiny_memotr(use_dab=use_dab, **NEVER)
    losses, clip = tracker.losses(seen_clip(tracker, schedule))
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert len(clip.frames) == len(schedule)
    # Distributed training needs the gradient of every parameter, even without tracks.
    named = tracker.named_parameters()
    assert not [name for name, one in named if one.requires_grad and (one.grad is None or one.grad.isnan().any())]


def test_checkpointing_changes_no_result():
    found = []
    for checkpointing in (False, True):
        tracker = tiny_memotr(checkpointing=checkpointing)
        losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0], [0, 1]]))
        sum(losses.values()).backward()
        found.append([*losses.values(), *(one.grad for one in tracker.parameters() if one.grad is not None)])
    assert len(found[0]) == len(found[1])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_gradient_through_tracks_to_earlier_frames():
    tracker = tiny_memotr()
    batch = seen_clip(tracker, [[0, 1], [0, 1]])
    images = batch.images.requires_grad_()
    follow(tracker, batch)[-1][1][-1]["l1"].backward()
    assert images.grad[0, 0].abs().sum() > 0
    assert tracker.temporal_interaction.fusion.layers[0].weight.grad.abs().sum() > 0


class States(Plugin):
    """Plug-in that records the tracks of every frame, and requests options."""

    name = "states"

    def __init__(self, **options):
        super().__init__()
        self.options, self.seen = options, []

    def setup(self, spec):
        self.spec = spec
        return self.options

    def on_tracks_update(self, frame, tracks, ctx):
        self.seen.append((frame, tracks))
        return tracks


def test_tracks_with_low_scores_keep_query_anchor_and_memory():
    plugin = States()
    tracker = tiny_memotr(plugin, **NEVER)
    batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1]])
    plugin.seen.clear()
    follow(tracker, batch)
    (_, first), (_, second), _ = plugin.seen
    assert first.ids.tolist() == second.ids.tolist() == [[0, 1]]
    for name in ("queries", "ref_logits", "memory"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert not torch.equal(first.embeddings, second.embeddings)


def test_query_update_of_a_plugin_receives_anchor_and_box_head():
    plugin = States(query_update="plugin", object_supervision="all", keep_rule="plugin")
    tracker = tiny_memotr(plugin)
    batch = seen_clip(tracker, [[0, 1], [0, 1, 2]])
    plugin.seen.clear()
    frames = [frame for frame, _, _ in follow(tracker, batch)]
    assert plugin.spec.box_head is tracker.detector.decoder.box_heads[-1]
    for frame, (given, tracks) in zip(frames, plugin.seen, strict=True):
        offsets = plugin.spec.box_head(frame.embeddings) + torch.logit(given.ref_boxes_cxcywh)
        torch.testing.assert_close(offsets.sigmoid(), frame.boxes_cxcywh)
        assert tracks.ids.min() >= 0
    detected = frames[1].gt_index[0, :8]
    assert sorted(detected[detected >= 0].tolist()) == [0, 1, 2]


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"memory_rate: expected a weight in \[0, 1\], got 2"):
        MeMOTR(memory_rate=2)
    with pytest.raises(ValueError, match="merge_layer: expected 0 without dab"):
        MeMOTR(DetectorSettings("small", embed_dim=32, num_heads=4), use_dab=False, merge_layer=1)
    tracker = tiny_memotr()
    with pytest.raises(ValueError, match="clip have no ground truth"):
        tracker.losses(batch_of(torch.zeros(1, 2, 3, 64, 96, dtype=torch.float64)))
