"""Matches and association targets against brute force over identities."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamotr import association_targets, match_by_id, match_detections
from mot_core.nn import HungarianMatcher
from mot_core.structures import FrameTargets

IDS = st.lists(st.integers(0, 9), max_size=6, unique=True)


@given(IDS, st.lists(st.integers(-1, 12), max_size=5), st.randoms(use_true_random=False))
def test_targets_equal_brute_force(gt_ids, track_ids, random):
    """At most one True per row and column for distinct tracklets; none for absent targets and the identity -1."""
    track_ids = list(dict.fromkeys(track_ids))
    matched = random.sample([*range(len(gt_ids)), -1, -1], k=len(gt_ids) + 1)
    m_tck = match_by_id(torch.tensor([track_ids], dtype=torch.int64), torch.tensor([gt_ids], dtype=torch.int64))[0]
    target = association_targets(torch.tensor(matched), m_tck)
    assert target.shape == (len(matched), len(track_ids))
    for (i, row), (j, number) in itertools.product(enumerate(matched), enumerate(track_ids)):
        assert target[i, j].item() == (row >= 0 and gt_ids[row] == number)
    if target.numel():
        assert target.sum(0).max() <= 1
        assert target.sum(1).max() <= 1


def test_padded_ground_truth_is_not_matched_by_id():
    ids = torch.tensor([[4, 7]])
    assert match_by_id(torch.tensor([[7, 4]]), ids, torch.tensor([[True, False]])).tolist() == [[-1, 0]]
    assert match_by_id(torch.tensor([[7, 4]]), ids[:, :0]).tolist() == [[-1, -1]]


def best(cost):
    """Cheapest assignment of every column to a row, by trying all."""
    rows, columns = cost.shape
    return min(itertools.permutations(range(rows), columns), key=lambda p: sum(cost[r, c] for c, r in enumerate(p)))


def test_every_object_is_matched_even_if_tracked():
    """The detection has as many positives as there is ground truth, unlike in MOTR, and the matching is optimal."""
    generator = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(1, 5, 2, generator=generator), torch.rand(1, 5, 4, generator=generator) / 2 + 0.1
    gt_boxes, labels = torch.rand(1, 3, 4, generator=generator) / 2 + 0.1, torch.tensor([[0, 1, 1]])
    found = match_detections(logits, boxes, gt_boxes, labels)
    assert (found >= 0).sum() == 3
    targets = FrameTargets(gt_boxes, labels, labels, labels >= 0)
    wanted = torch.full((5,), -1)
    for column, row in enumerate(best(HungarianMatcher().cost(logits, boxes, targets)[0])):
        wanted[row] = column
    assert found[0].tolist() == wanted.tolist()


def test_padding_is_not_matched():
    logits, boxes = torch.zeros(1, 3, 1), torch.tensor([[[0.5, 0.5, 0.2, 0.2]] * 3])
    boxes[:, 0] = torch.nan
    labels = torch.zeros(1, 2, dtype=torch.int64)
    gt_boxes = boxes[:, 1:].clone()
    gt_boxes[:, 1] = torch.nan
    pad = torch.tensor([[True, False, False]])
    found = match_detections(logits, boxes, gt_boxes, labels, torch.tensor([[True, False]]), pad)
    assert sorted(found[0].tolist()) == [-1, -1, 0]
    assert found[0, 0] == -1


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_match(shape):
    boxes = [torch.rand(1, size, 4) for size in shape]
    found = match_detections(torch.zeros(1, shape[0], 1), *boxes, torch.zeros(1, shape[1], dtype=torch.int64))
    assert found.tolist() == [[-1] * shape[0]]
