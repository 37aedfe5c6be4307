"""The matcher finds the optimal assignment, compared with brute force."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.trackers.tiny_detectors import make_targets
from mot_core.nn import HungarianMatcher
from mot_core.structures import FrameTargets


def predictions(slots, batch=1, classes=2, seed=3):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, slots, classes, generator=generator, dtype=torch.float64)
    return logits, torch.rand(batch, slots, 4, generator=generator, dtype=torch.float64) * 0.5 + 0.2


def plain_cost(logits, box, label, target):
    """The cost of one pair by the formulas: focal, L1, GIoU."""
    p = 1 / (1 + math.exp(-logits[label]))
    focal = 0.25 * (1 - p) ** 2 * -math.log(p + 1e-8) - 0.75 * p**2 * -math.log(1 - p + 1e-8)
    l1 = sum(abs(a - b) for a, b in zip(box, target, strict=True))
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = (
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (box, target)
    )
    overlap = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - overlap
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return 2 * focal + 5 * l1 - 2 * (overlap / union - (hull - union) / hull)


def pick(targets, index):
    """Select some frames or objects of targets."""
    return FrameTargets(*(getattr(targets, name)[index] for name in ("boxes_cxcywh", "labels", "ids", "valid")))


def test_cost_equals_the_formula():
    logits, boxes = predictions(4, batch=2)
    targets = make_targets([3, 3], classes=2)
    cost, labels = HungarianMatcher().cost(logits, boxes, targets), targets.labels.tolist()
    for b, n, g in itertools.product(range(2), range(4), range(3)):
        target = targets.boxes_cxcywh[b, g].tolist()
        expected = plain_cost(logits[b, n].tolist(), boxes[b, n].tolist(), labels[b][g], target)
        assert cost[b, n, g].item() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 99))
def test_matching_is_optimal(slots, objects, seed):
    logits, boxes = predictions(slots, seed=seed)
    targets = make_targets([objects], classes=2, seed=seed)
    gt_index = HungarianMatcher()(logits, boxes, targets)[0]
    cost = HungarianMatcher().cost(logits, boxes, targets)[0]
    pairs = min(slots, objects)
    assert sorted(gt_index[gt_index >= 0].tolist()) == sorted(set(gt_index[gt_index >= 0].tolist()))
    assert (gt_index >= 0).sum() == pairs
    found = sum(cost[slot, row].item() for slot, row in enumerate(gt_index.tolist()) if row >= 0)
    best = min(
        sum(cost[slot, row].item() for slot, row in zip(rows, columns, strict=True))
        for rows in itertools.combinations(range(slots), pairs)
        for columns in itertools.permutations(range(objects), pairs)
    )
    assert found == pytest.approx(best)


def test_batch_equals_separate_frames():
    logits, boxes = predictions(6, batch=3)
    targets = make_targets([4, 0, 2], classes=2)
    together = HungarianMatcher()(logits, boxes, targets)
    for frame in range(3):
        alone = HungarianMatcher()(logits[[frame]], boxes[[frame]], pick(targets, ([frame],)))
        assert torch.equal(alone[0], together[frame])
    assert (together >= 0).sum(1).tolist() == [4, 0, 2]


def test_padded_objects_have_no_effect():
    logits, boxes = predictions(6, batch=2)
    small = make_targets([2, 1], size=2)
    padding = torch.full((2, 5, 4), float("nan"), dtype=torch.float64)
    big = replace(
        small,
        boxes_cxcywh=torch.cat([small.boxes_cxcywh, padding], 1),
        **{
            name: torch.cat([getattr(small, name), torch.full((2, 5), fill)], 1)
            for name, fill in (("labels", -1), ("ids", -1), ("valid", False))
        },
    )
    assert torch.equal(HungarianMatcher()(logits, boxes, small), HungarianMatcher()(logits, boxes, big))


def test_only_free_slots_and_objects_are_matched():
    logits, boxes = predictions(6)
    targets = make_targets([4], classes=2)
    free_slots = torch.tensor([[True, False, True, False, True, True]])
    free_targets = torch.tensor([[False, True, True, False]])
    gt_index = HungarianMatcher()(logits, boxes, targets, free_slots, free_targets)[0]
    assert set(gt_index[gt_index >= 0].tolist()) == {1, 2}
    assert not (gt_index[~free_slots[0]] >= 0).any()
    # The others have no effect.
    kept = pick(targets, (slice(None), [1, 2]))
    rows = HungarianMatcher()(logits[:, free_slots[0]], boxes[:, free_slots[0]], kept)[0]
    assert torch.equal(gt_index[free_slots[0]], torch.where(rows >= 0, rows + 1, -1))


@pytest.mark.parametrize(("slots", "counts"), [(0, [2]), (3, [0]), (0, [0]), (2, [5])])
def test_empty_sides(slots, counts):
    logits, boxes = predictions(slots)
    gt_index = HungarianMatcher()(logits, boxes, make_targets(counts, classes=2))
    assert gt_index.shape == (1, slots)
    assert (gt_index >= 0).sum() == min(slots, counts[0])


def test_no_gradient_and_half_precision():
    logits, boxes = predictions(4)
    targets = make_targets([2], classes=2)
    expected = HungarianMatcher()(logits.requires_grad_(), boxes.requires_grad_(), targets)
    assert not expected.requires_grad
    assert torch.equal(HungarianMatcher()(logits.bfloat16(), boxes.bfloat16(), targets), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_costs_are_rejected(bad):
    logits, boxes = predictions(4, batch=2)
    boxes[1, 2, 0] = bad
    with pytest.raises(ValueError, match="frame 1 of the batch cannot be matched: logits or boxes are not finite"):
        HungarianMatcher()(logits, boxes, make_targets([1, 2], classes=2))
