"""Capacity term: reference in loops, gradients and symmetries."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.unitrack_clips import SIZE, chosen, needing_gradient, noisy, padded
from _helpers.unitrack_identity_reference import capacity_reference
from unitrack_loss import TrackClip, UniTrackLoss
from unitrack_loss.terms.capacity import capacity_sums

SHAPES = {
    "clips": st.integers(0, 3),
    "frames": st.integers(1, 4),
    "count": st.sampled_from([0, 1, 2, 7]),
    "objects": st.sampled_from([0, 1, 2, 4]),
    "seed": st.integers(0, 10**6),
}
quick = settings(max_examples=30, deadline=None, derandomize=True)


def crowded(**shape):
    """Create a random clip whose detections are all near the same few objects, so that many overlap these."""
    clip = noisy(**shape, affinity="embed")
    return replace(
        clip,
        boxes_xyxy=clip.boxes_xyxy / 25 + torch.tensor([0.0, 0, 25, 50]),
        gt_boxes_xyxy=clip.gt_boxes_xyxy / 25 + torch.tensor([0.0, 0, 25, 50]),
    )


def capacity(clip):
    return UniTrackLoss(identity_weight=0.0, capacity_weight=1.0)(clip).capacity.item()


def one_object(logits, overlapping=True):
    """Create one frame with an assigned slot, and others without an object."""
    boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0]]]], dtype=torch.float64).repeat(1, 1, len(logits), 1)
    if not overlapping:
        boxes[:, :, 1:] += 6  # IoU below one half
    ids = torch.full((1, 1, len(logits)), -1)
    ids[..., 0] = 5
    logits = torch.tensor(logits, dtype=torch.float64)[None, None]
    return TrackClip(boxes, logits, ids < 9, ids, boxes[:, :, :1], ids[:, :, :1], SIZE)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**SHAPES)
def test_any_clip(**shape):
    clip = crowded(**shape)
    assert capacity(clip) == pytest.approx(capacity_reference(clip), rel=1e-9, abs=1e-12)


def test_rivals_are_common_in_random_clips():
    assert capacity(crowded(count=7, objects=4)) > 0.1


def test_gradient_of_one_object_sums_to_zero():
    clip, leaves = needing_gradient(one_object([0.3, 1.2, -4.0]))
    UniTrackLoss(identity_weight=0.0, capacity_weight=1.0)(clip).total.backward()
    grad = leaves["logits"].grad[0, 0]
    assert grad[0] < 0 < grad[2] < grad[1]
    assert grad.sum().item() == pytest.approx(0, abs=1e-12)
    assert not leaves["boxes_xyxy"].grad.any()


def test_only_overlapping_slots_compete():
    alone = one_object([0.3, 1.2, -4.0], overlapping=False)
    assert capacity(alone) == 0
    assert capacity(one_object([0.3, 0.3])) == pytest.approx(torch.tensor(2.0).log().item())
    assigned = one_object([0.3, 1.2])
    both = replace(
        assigned,
        det_gt=torch.tensor([[[5, 6]]]),
        gt_ids=torch.tensor([[[5, 6]]]),
        gt_boxes_xyxy=assigned.boxes_xyxy,
    )
    assert capacity(both) == 0, "a detection of another object is no duplicate"


def test_finite_differences():
    clip, leaves = needing_gradient(crowded(frames=2, count=5, objects=3))
    assert torch.autograd.gradcheck(
        lambda logits: capacity_sums(replace(clip, logits=logits).clean()).total, leaves["logits"]
    )


@quick
@given(**SHAPES, garbage=st.sampled_from([1e6, float("nan"), float("inf")]))
def test_symmetries_and_padding(garbage, **shape):
    clip, generator = crowded(**shape), torch.Generator().manual_seed(shape["seed"])
    expected = pytest.approx(capacity(clip), rel=1e-9)
    assert capacity(chosen(clip, torch.rand(clip.logits.shape, generator=generator).argsort(-1))) == expected
    renamed = {n: torch.where(getattr(clip, n) >= 0, 10**9 - 3 * getattr(clip, n), -1) for n in ("det_gt", "gt_ids")}
    assert capacity(replace(clip, **renamed)) == expected
    assert capacity(padded(clip, 3, garbage)) == expected


def test_compiles_as_one_graph():
    torch.compiler.reset()
    clip = crowded(dtype=torch.float32, frames=2, count=7).clean()

    def sums(one):
        found = capacity_sums(one)
        return found.total, found.count

    torch.testing.assert_close(torch.compile(sums, fullgraph=True, backend="eager")(clip), sums(clip))
