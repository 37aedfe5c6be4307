"""Training of TrackFormer on clips: random track queries, losses of the last frame, gradients."""

from dataclasses import replace

import pytest
import torch

from _helpers.trackers.motr_clips import (
    assert_batch_equals_clips,
    batch_of,
    follow,
    images_of,
    make_two,
    merge,
    seen_clip,
    targets_of,
    tiny_trackformer,
    tracks_in,
)
from mot_core.plugins import Plugin
from mot_core.structures import FrameOutput
from mot_core.trackers.memory import estimate_memory
from mot_core.trackers.trackformer.track_augmentation import augment_tracks

PLAIN = {"false_negatives": False, "false_positive": 0.0}


def test_matched_objects_become_tracks():
    tracker = tiny_trackformer(**PLAIN)
    steps = follow(tracker, seen_clip(tracker, [[0, 1], [0], [0, 2], [0, 2]]))
    # An object that is not in the frame loses its track.
    assert [sorted(ids) for ids in tracks_in(steps)] == [[], [0, 1], [0], [0, 2]]
    for frame, _, _ in steps:
        carried = frame.gt_index[frame.is_track & (frame.track_ids == 0)]
        assert (carried == 0).all()


def test_losses_of_the_last_frame_only():
    """A plain loop over the slots gives the same losses."""
    tracker = tiny_trackformer(**PLAIN)
    batch = seen_clip(tracker, [[0, 1, 2], [0, 2, 3]])
    first, last = follow(tracker, batch)
    assert first[1] == []
    assert first[2] == 0
    assert last[2] == 3, "the track whose object has left is not counted"
    losses, clip = tracker.losses(batch)
    assert [frame.has_grad for frame in clip.frames] == [False, True]
    assert not clip.frames[0].boxes_cxcywh.requires_grad
    frame, targets = clip.frames[1], batch.targets[1]
    focal = l1 = 0.0
    for slot in range(frame.valid.shape[1]):
        p, row = frame.logits[0, slot, 0].sigmoid().item(), frame.gt_index[0, slot].item()
        if row < 0:
            focal -= 0.75 * p**2 * torch.tensor(1 - p).log().item()
        else:
            focal -= 0.25 * (1 - p) ** 2 * torch.tensor(p).log().item()
            l1 += (frame.boxes_cxcywh[0, slot] - targets.boxes_cxcywh[0, row]).abs().sum().item()
    assert losses["class"].item() == pytest.approx(2 * focal / 3, rel=1e-5)
    assert losses["l1"].item() == pytest.approx(5 * l1 / 3)


def test_tracks_detect_their_object_and_others_are_background():
    tracker = tiny_trackformer(false_negatives=False, false_positive=1.0)
    frame = follow(tracker, seen_clip(tracker, [[0, 1], [0, 1, 2]]))[1][0]
    assert frame.track_ids[0, 8:].tolist() == [0, 1, -1, -1]
    assert frame.gt_index[0, 8:].tolist() == [0, 1, -1, -1]
    assert (frame.gt_index[0, :8] == 2).sum() == 1, "the new object has a detection"
    assert (frame.gt_index[0, :8] >= 0).sum() == 1


def augment(count, empty, seed=0, **options):
    """Augment the tracks of a frame with ``count`` matched slots and ``empty`` ones in a row."""
    slots = count + empty
    boxes = torch.full((1, slots, 4), 0.1)
    boxes[0, :, 0] = torch.linspace(0, 1, slots)
    ids = torch.arange(slots).masked_fill(torch.arange(slots) >= count, -1)[None]
    valid = torch.ones(1, slots, dtype=torch.bool)
    frame = FrameOutput(boxes, torch.zeros(1, slots, 1), valid, torch.ones(1, 2), torch.ones(1).long(), gt_index=ids)
    return augment_tracks(frame, ids, [torch.Generator().manual_seed(seed)], **options)


def test_numbers_of_false_negatives_and_positives():
    sizes = torch.zeros(4)
    inserted = 0
    for seed in range(400):
        keep, added = augment(3, 5, seed, false_negatives=True, false_positive=0.25)
        assert not (keep & added).any()
        assert keep[0, 3:].sum() == 0
        assert added[0, :3].sum() == 0
        sizes[int(keep.sum())] += 1
        inserted += int(added.sum())
    assert (sizes / 400 - 0.25).abs().max() < 0.07, "every number of kept tracks is equally likely"
    assert inserted == pytest.approx(400 * 1.5 * 0.25, rel=0.2)


def test_false_positives_are_drawn_by_distance():
    counts = torch.zeros(4)
    for seed in range(600):
        counts += augment(1, 3, seed, false_negatives=False, false_positive=1.0)[1][0]
    torch.testing.assert_close(counts[1:] / 600, torch.tensor([1.0, 2.0, 3.0]) / 6, rtol=0, atol=0.06)


@pytest.mark.parametrize(("count", "empty"), [(0, 3), (1, 0), (3, 1), (0, 0)])
def test_augmentation_of_odd_frames(count, empty):
    keep, added = augment(count, empty, false_negatives=False, false_positive=1.0)
    assert keep.sum() == count
    assert added.sum() == min(count, empty)


def test_random_draws_depend_on_step_and_not_on_evaluation():
    tracker = tiny_trackformer()
    batch = seen_clip(tracker, [[0, 1, 2, 3, 4, 5]] * 2)
    drawn = {tuple(tracks_in(follow(tracker, batch, step))[1]) for step in range(6)}
    assert len(drawn) > 2
    assert tracks_in(follow(tracker, batch, 3)) == tracks_in(follow(tracker, batch, 3))
    assert tracks_in(follow(tracker.eval(), batch))[1] == [0, 1, 2, 3, 4, 5]


def test_previous_frames_have_a_gradient_on_request():
    for backprop in (False, True):
        tracker = tiny_trackformer(backprop_previous=backprop, **PLAIN)
        batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1]])
        batch = replace(batch, images=batch.images.requires_grad_())
        losses, clip = tracker.losses(batch)
        sum(losses.values()).backward()
        seen = [bool(gradient.any()) for gradient in batch.images.grad[0]]
        assert seen == ([True] * 3 if backprop else [False, False, True])
        assert [frame.has_grad for frame in clip.frames] == seen


def test_batch_of_two_clips_matches_single_clips():
    tracker = tiny_trackformer()
    assert_batch_equals_clips(tracker, make_two(tracker), loss_rtol=1e-9)


def test_padding_and_missing_objects():
    tracker = tiny_trackformer()
    for schedule in ([[0]], [[], [3]], [[2], []], [[-1, 4], [4, -1]]):
        losses, _ = tracker.losses(seen_clip(tracker, schedule))
        sum(losses.values()).backward()
        named = tracker.named_parameters()
        assert not [name for name, one in named if one.requires_grad and (one.grad is None or one.grad.isnan().any())]
    other = batch_of(images_of(1, 2), [targets_of({}), targets_of({})], "empty")
    losses, _ = tracker.losses(merge(seen_clip(tracker, [[0, 1], [0, 1]]), other))
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize("backprop", [False, True])
def test_checkpointing_changes_no_result(backprop):
    """The features of the previous frame are those of the forward pass, although later frames replace them."""
    found = []
    for checkpointing in (False, True):
        tracker = tiny_trackformer(checkpointing=checkpointing, backprop_previous=backprop)
        losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0], [0, 1]]))
        sum(losses.values()).backward()
        found.append([*losses.values(), *(one.grad for one in tracker.parameters() if one.grad is not None)])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


def test_memory_of_one_frame():
    tracker, plain = tiny_trackformer().float(), tiny_trackformer(multi_frame=False).float()
    estimate = estimate_memory(tracker, (64, 96), 3)
    assert estimate.frames_kept == 1
    assert tiny_trackformer(backprop_previous=True).frames_in_memory(3) == 3
    assert estimate.frame > estimate_memory(plain, (64, 96), 3).frame


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"false_positive": 1.5}, r"false_positive: expected a number in \[0, 1\], got 1.5"),
        ({"nms_threshold": -0.1}, r"nms_threshold: expected a number in \[0, 1\], got -0.1"),
        ({"reid_distance": float("nan")}, "reid_distance: expected a distance of at least 0, got nan"),
        ({"miss_tolerance": 0}, "miss_tolerance: expected at least 1 frame, got 0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_trackformer(**options)


def test_plugins_on_tracks_need_their_gradient():
    class OnTracks(Plugin):
        name = "on_tracks"
        requires = (("history", "track_queries"),)

    with pytest.raises(
        ValueError, match=r"backprop_previous: expected true with the plug-in 'on_tracks', .* got false"
    ):
        tiny_trackformer(OnTracks())
    tiny_trackformer(OnTracks(), backprop_previous=True)
