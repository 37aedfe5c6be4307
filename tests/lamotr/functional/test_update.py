"""The update of queries and the tracklets carried through a clip."""

import itertools

import pytest
import torch

from lamotr import carried_ids, weighted_update


def tensors(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_ends_and_linearity():
    tracklets, objects = tensors((4, 3), (2, 3))
    matched = torch.tensor([1, -1, 0, -1])
    assert torch.equal(weighted_update(tracklets, objects, matched, 1.0), tracklets)
    mixed = weighted_update(tracklets, objects, matched, 0.0)
    assert torch.equal(mixed, torch.stack([objects[1], tracklets[1], objects[0], tracklets[3]]))
    third = weighted_update(tracklets, objects, matched, 1 / 3)
    torch.testing.assert_close(third, tracklets / 3 + mixed * 2 / 3)


def test_batches_equal_single_elements_and_frozen_queries_stay():
    tracklets, objects, frozen = tensors((2, 4, 3), (2, 5, 3), (2, 4, 3))
    matched = torch.tensor([[1, -1, 0, -1], [-1, 4, -1, -1]])
    found = weighted_update(tracklets, objects, matched, 0.5, frozen)
    for clip, row in itertools.product(range(2), range(4)):
        i = matched[clip, row].item()
        wanted = frozen[clip, row] if i < 0 else (tracklets[clip, row] + objects[clip, i]) / 2
        torch.testing.assert_close(found[clip, row], wanted)


def test_gradients_and_nan_in_unmatched_objects():
    tracklets, objects = (one.requires_grad_() for one in tensors((3, 2), (2, 2)))
    matched = torch.tensor([1, -1, 1])
    torch.autograd.gradcheck(lambda a, b: weighted_update(a, b, matched, 0.3), (tracklets, objects))
    broken = objects.detach().clone()
    broken[0] = torch.nan
    assert weighted_update(tracklets, broken, matched, 0.3).isfinite().all()


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_empty(shape):
    tracklets, objects = tensors((shape[0], 3), (shape[1], 3))
    assert torch.equal(weighted_update(tracklets, objects, torch.full(shape[:1], -1), 0.5), tracklets)


def test_weight_is_checked():
    with pytest.raises(ValueError, match=r"weight: expected a number in \[0, 1\], got 1.5"):
        weighted_update(*tensors((1, 1), (1, 1)), torch.tensor([0]), 1.5)


# (score >= 0.5, IoU >= 0.5) of a target with identity 7: kept, identity afterwards.
RULES = {
    "both": {(True, True): (True, 7), (True, False): (True, -1), (False, True): (True, 7), (False, False): (False, -1)},
    "either": {(True, True): (True, 7), (True, False): (False, -1), (False, True): (False, 7),
               (False, False): (False, -1)},
    "memotr": {(True, True): (True, 7), (True, False): (True, -1), (False, True): (True, 7),
               (False, False): (True, -1)},
    "none": {(True, True): (True, 7), (True, False): (True, -1), (False, True): (True, 7), (False, False): (True, -1)},
}  # fmt: skip


@pytest.mark.parametrize("exclude", RULES)
def test_exclusion_rules(exclude):
    for (confident, accurate), (kept, identity) in RULES[exclude].items():
        score, overlap = torch.tensor([0.8 if confident else 0.2]), torch.tensor([0.8 if accurate else 0.2])
        found = carried_ids(torch.tensor([7]), score, overlap, exclude)
        assert (found[0].item(), found[1].item()) == (kept, identity), (confident, accurate)


def test_targets_without_identity_and_demotion():
    ids, scores, overlaps = torch.tensor([-1, -1]), torch.tensor([0.8, 0.2]), torch.zeros(2)
    assert [carried_ids(ids, scores, overlaps, rule)[0].tolist() for rule in ("both", "either", "memotr")] == [
        [True, False],
        [False, False],
        [True, False],
    ]
    kept = carried_ids(torch.tensor([7]), torch.tensor([0.8]), torch.tensor([0.2]), demote=False)
    assert kept[1].item() == 7
    with pytest.raises(ValueError, match="exclude: expected both, either, memotr or none, got 'all'"):
        carried_ids(ids, scores, overlaps, "all")
