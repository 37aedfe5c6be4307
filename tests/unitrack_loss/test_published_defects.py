"""Absence of defects that we measured in the published code."""

from dataclasses import replace

import pytest
import torch

from _helpers.unitrack_clips import boxes_at, needing_gradient, perfect, swap_rows, walking
from unitrack_loss import UniTrackLoss


def test_relabeled_identities():
    """Published loss of perfect tracking: 58 with exchanged labels, 18 with other labels."""
    right = perfect(walking(count=2))
    exchanged, own = 1 - right.gt_ids, right.gt_ids + 1000
    for ids in (right.gt_ids, exchanged, own):
        assert UniTrackLoss("paper")(replace(right, det_gt=ids, gt_ids=ids)).total < 1e-6


def test_crossing_objects():
    """Published loss of perfect tracking of two crossing objects: 15, because it ignored time."""
    t = torch.arange(5.0)[:, None]
    centers = torch.stack([torch.cat([200 + 50 * t, 200 + 0 * t], 1), torch.cat([400 - 50 * t, 200 + 0 * t], 1)], 1)
    assert UniTrackLoss("paper")(perfect(centers)).total < 1e-6


def test_row_order():
    """Published loss of a perfect clip with shuffled rows: 0.031."""
    right = perfect(walking(), affinity="embed")
    mixed = replace(
        right,
        **{n: swap_rows(getattr(right, n), 2) for n in ("boxes_xyxy", "logits", "valid", "det_gt", "embed")},
    )
    assert UniTrackLoss("paper")(mixed).total.item() == pytest.approx(UniTrackLoss("paper")(right).total.item())


@pytest.mark.parametrize("affinity", ["assoc", "embed", "boxes"])
def test_empty_boxes_are_finite(affinity):
    """The published loss and gradient were NaN."""
    right = perfect(walking(), affinity=affinity)
    flat = boxes_at(walking(), 0, 0)[None]
    clip, leaves = needing_gradient(replace(right, boxes_xyxy=flat, gt_boxes_xyxy=flat))
    total = UniTrackLoss("paper")(clip).total
    total.backward()
    assert total.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in leaves.values() if leaf.grad is not None)


def test_false_positive_in_an_empty_frame():
    """The published loss skipped frames without ground truth."""
    clip = perfect(walking())
    none = torch.full_like(clip.gt_ids, -1)
    costs = []
    for logit in (-6.0, 6.0):
        logits = torch.full_like(clip.logits, logit)
        costs.append(UniTrackLoss("paper")(replace(clip, gt_ids=none, det_gt=none, logits=logits)).total.item())
    assert costs[0] < 0.01
    assert costs[1] > 1


def test_partially_missed_track():
    """The published loss counted only objects that were never found."""
    right = perfect(walking())
    valid = right.valid.clone()
    valid[0, 3:, 0] = False
    assert UniTrackLoss("paper")(replace(right, valid=valid)).quality < 0.95
    assert UniTrackLoss("paper")(replace(right, valid=valid)).total > 0.1


def test_crowds():
    """Published loss of a perfect frame with three people close together: 0.283."""
    centers = torch.tensor([[200.0, 200.0], [210.0, 205.0], [205.0, 195.0]]).expand(5, 3, 2)
    assert UniTrackLoss("paper")(perfect(centers)).total < 1e-6


def test_image_unit():
    """Two of three published terms vanished for boxes in [0, 1]."""
    clip = perfect(walking(), affinity="embed")
    clip = replace(clip, boxes_xyxy=clip.boxes_xyxy + torch.randn(clip.boxes_xyxy.shape) * 5)
    unit = replace(
        clip,
        boxes_xyxy=clip.boxes_xyxy / 640,
        gt_boxes_xyxy=clip.gt_boxes_xyxy / 640,
        image_size=clip.image_size / 640,
    )
    a, b = UniTrackLoss("paper")(clip), UniTrackLoss("paper")(unit)
    assert a.spatial > 0.05
    for term in ("spatial", "temporal", "total"):
        assert getattr(b, term).item() == pytest.approx(getattr(a, term).item(), rel=1e-2), term
