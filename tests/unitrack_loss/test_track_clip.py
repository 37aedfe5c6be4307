"""Conversion of a tracker's slots to a clip: selection, identities and units."""

import pytest
import torch

from mot_core.structures import ClipOutput, FrameOutput, FrameTargets
from unitrack_loss import UniTrackLoss, track_clip

IDS = torch.tensor([[5, 9, 7, -1]])  # the last one is padded
TARGETS = FrameTargets(
    torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1], [0.3, 0.2, 0.1, 0.3], [0.0, 0, 0, 0]]]),
    torch.zeros(1, 4, dtype=torch.int64),
    IDS,
    torch.tensor([[True, True, True, False]]),
)
NAN = float("nan")


def frame(slots, time, **more):
    """Create slots from ``(gt_index, is_track, valid, logit)``; boxes encode the row."""
    index, track, valid, logit = zip(*slots, strict=True)
    count = len(slots)
    rows = torch.arange(1.0, count + 1)[None, :, None]
    return FrameOutput(
        (rows * 0.01 + torch.tensor([0.1, 0.2, 0.05, 0.06])).requires_grad_(),
        torch.stack([torch.tensor(logit), torch.full((count,), -20.0)], -1)[None].requires_grad_(),
        torch.tensor(valid)[None],
        torch.tensor([[480, 640]]),
        torch.tensor([time]),
        is_track=torch.tensor(track)[None],
        gt_index=torch.tensor(index)[None],
        **more,
    )


def test_selection_of_slots():
    slots = [
        (1, False, True, -9.0),  # assigned, regardless of the score
        (-1, False, True, 1.0),  # a false positive
        (-1, False, True, -5.0),  # background
        (-1, True, True, -5.0),  # a track without an object
        (0, True, True, 2.0),  # track of an object
        (0, False, True, 2.0),  # second slot of the same object
        (3, False, True, 2.0),  # an object of unknown identity
        (-1, False, False, NAN),  # padded
    ]
    clip = track_clip(ClipOutput([frame(slots, 1)], [TARGETS]))
    assert clip.validate().det_gt.tolist() == [[[9, -1, -1, 5]]]
    torch.testing.assert_close(clip.logits[0, 0], torch.tensor([-9.0, 1, -5, 2]))
    torch.testing.assert_close(
        clip.boxes_xyxy[0, 0, 1], torch.tensor([(0.12 - 0.035) * 640, (0.22 - 0.04) * 480, 0.155 * 640, 0.26 * 480])
    )
    assert clip.gt_ids.tolist() == [[[5, 9, 7, -1]]]
    torch.testing.assert_close(clip.gt_boxes_xyxy[0, 0, 0], torch.tensor([256.0, 144, 384, 336]))
    assert track_clip(ClipOutput([frame(slots, 1)], [TARGETS]), min_score=0.0).valid.sum() == 5
    assert track_clip(ClipOutput([frame(slots, 1)], [TARGETS]), min_score=0.99).valid.sum() == 3


def two_frames(**more):
    first = [(-1, False, True, -9.0), (0, False, True, 2.0), (1, False, True, 2.0)]
    second = [(1, True, True, 1.0), (-1, False, True, -9.0), (-1, False, True, -9.0), (0, True, True, 3.0)]
    return ClipOutput(
        [frame(first, 4, **{k: v[0] for k, v in more.items()}), frame(second, 7, **{k: v[1] for k, v in more.items()})],
        [TARGETS, TARGETS],
    )


def test_frames_of_different_sizes():
    embeddings = torch.randn(1, 3, 6), torch.randn(1, 4, 6)
    clip = track_clip(two_frames(embeddings=embeddings))
    assert clip.validate().det_gt.tolist() == [[[5, 9], [9, 5]]]
    torch.testing.assert_close(clip.embed[0], torch.stack([embeddings[0][0, [1, 2]], embeddings[1][0, [0, 3]]]))
    assert clip.frame_stride.tolist() == [3]
    assert UniTrackLoss("paper")(clip).num_edges == 2


def test_associations_take_precedence_over_embeddings():
    assoc = torch.arange(12.0).view(1, 3, 4).requires_grad_()
    clip = track_clip(two_frames(embeddings=(torch.randn(1, 3, 6), torch.randn(1, 4, 6)), assoc=(None, assoc)))
    assert clip.embed is None
    assert clip.assoc_logits.tolist() == [[[[4, 7], [8, 11]]]]
    UniTrackLoss("paper")(clip).total.backward()
    assert assoc.grad[0, [1, 1, 2, 2], [0, 3, 0, 3]].all()
    assert assoc.grad.count_nonzero() == 4


def test_embeddings_must_be_in_all_frames():
    assert track_clip(two_frames(embeddings=(None, torch.randn(1, 4, 6)))).embed is None


def test_no_detections_keep_the_graph():
    """Distributed training requires a gradient of every parameter in every step."""
    clip = ClipOutput([frame([(-1, False, True, -9.0)] * 2, t) for t in range(3)], [TARGETS] * 3)
    total = UniTrackLoss("paper")(track_clip(clip)).total
    assert total == 0
    total.backward()
    assert all(one.boxes_cxcywh.grad is not None and not one.boxes_cxcywh.grad.any() for one in clip.frames)


def test_garbage_in_padded_slots_reaches_no_gradient():
    garbage = torch.full((1, 3, 6), NAN)
    embeddings = torch.where(torch.tensor([True, True, False])[None, :, None], torch.randn(1, 3, 6), garbage)
    slots = [(0, False, True, 2.0), (-1, False, True, 2.0), (-1, False, False, NAN)]
    frames = [frame(slots, t, embeddings=embeddings.clone().requires_grad_()) for t in range(3)]
    UniTrackLoss("paper")(track_clip(ClipOutput(frames, [TARGETS] * 3))).total.backward()
    for one in frames:
        for value in (one.boxes_cxcywh, one.logits, one.embeddings):
            assert value.grad.isfinite().all()
            assert not value.grad[0, 2].any()


def test_missing_targets_are_rejected():
    with pytest.raises(ValueError, match="clip: expected targets with identities, got None"):
        track_clip(ClipOutput([frame([(-1, False, True, 0.0)], 1)]))
