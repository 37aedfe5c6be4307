"""Contrastive loss and embedding similarity, against loops over pairs."""

import itertools

import pytest
import torch

from _helpers import fdta_reference as reference
from fdta_adapters import identity_contrastive, inter_object_similarity, pair_quality


def example(seed=0, count=12, identities=4):
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 6, generator=random, dtype=torch.float64)
    ids = torch.randint(identities, (count,), generator=random)
    return z, ids, torch.rand(count, generator=random, dtype=torch.float64) * 0.8 + 0.2


def loss(*arguments, **options):
    return identity_contrastive(*arguments, **options).loss


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reduction", ["pair", "anchor"])
@pytest.mark.parametrize("weighting", ["harmonic", "none"])
def test_value_and_gradient_equal_a_loop(seed, reduction, weighting):
    z, ids, quality = example(seed)
    one, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    found = loss(one, ids, quality, reduction=reduction, weighting=weighting)
    wanted = reference.contrastive(
        other, ids.tolist(), quality.tolist(), harmonic=weighting == "harmonic", reduction=reduction
    )
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_clips_of_one_video_are_not_compared(seed):
    """Clips 0 and 1 show one video, clip 2 another; identities are unique across clips, with -1 for none."""
    z, ids, quality = example(seed)
    random = torch.Generator().manual_seed(seed)
    clips = torch.randint(3, (12,), generator=random)
    ids, source = ids + 4 * clips, torch.stack([clips, clips // 2], 1)
    one, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    found = identity_contrastive(one, ids, quality, source)
    wanted = reference.contrastive(other, ids.tolist(), quality.tolist(), source=source.tolist())
    torch.testing.assert_close(found.loss, wanted, rtol=1e-10, atol=1e-12)
    found.loss.backward()
    wanted.backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-10)
    assert not torch.equal(found.loss, loss(z, ids, quality)), "the source matters"
    different = torch.stack([clips, clips], 1)
    assert torch.equal(loss(z, ids, quality, different), loss(z, ids, quality)), "clips of different videos"


def test_gradcheck():
    z, ids, quality = example(count=6, identities=2)
    assert torch.autograd.gradcheck(lambda x: loss(x, ids, quality, tau=0.5), z.requires_grad_())


def test_compact_identities_have_a_lower_loss():
    z, ids, quality = example(3)
    quality = quality.clamp(min=0.6)
    means = torch.stack([z[ids == identity].mean(0) for identity in ids])
    pulled = [loss(z + share * (means - z), ids, quality).item() for share in (0, 0.25, 0.5, 0.75, 1.0)]
    assert pulled == sorted(pulled, reverse=True)
    together = means + 0.9 * (z.mean(0) - means)
    assert loss(together, ids, quality) > loss(means, ids, quality)


def test_degenerate_identities():
    z, _, quality = example()
    quality = quality.clamp(min=0.6)
    for ids in (torch.zeros(12).long(), torch.arange(12)):
        one = z.clone().requires_grad_()
        found = loss(one, ids, quality)
        assert found.item() == 0
        found.backward()
        assert one.grad.isfinite().all()
    for tau in (0.01, 0.1, 10.0):
        found = loss(z.float(), torch.arange(12) % 3, quality, tau=tau)
        assert found.isfinite()
        assert found >= 0
    assert loss(z[:0], torch.zeros(0).long(), quality[:0]).item() == 0
    assert loss(z[:1], torch.zeros(1).long(), quality[:1]).item() == 0


def test_symmetries():
    z, ids, quality = example()
    wanted = loss(z, ids, quality)
    order = torch.randperm(len(ids))
    torch.testing.assert_close(loss(z[order], ids[order], quality[order]), wanted)
    torch.testing.assert_close(loss(z, 100 - 7 * ids, quality), wanted)
    torch.testing.assert_close(loss(z * (torch.rand(12, 1) + 0.1), ids, quality), wanted)


def test_low_quality_has_no_effect():
    z, ids, quality = example()
    quality[3], quality[5] = 0.5, 0.499
    kept = quality >= 0.5
    assert kept[3]
    wanted = loss(z[kept], ids[kept], quality[kept])
    z[~kept] = float("nan")
    z.requires_grad_()
    output = identity_contrastive(z, ids, quality)
    torch.testing.assert_close(output.loss, wanted)
    assert output.num_kept == kept.sum()
    output.loss.backward()
    assert not z.grad[~kept].any()
    assert z.grad[3].any()


def test_unknown_identities_are_ignored():
    z, ids, quality = example()
    known = torch.arange(12) % 2 == 0
    torch.testing.assert_close(loss(z, ids.where(known, -1), quality), loss(z[known], ids[known], quality[known]))


def test_harmonic_weight():
    quality = torch.rand(20, dtype=torch.float64) + 0.01
    weight = pair_quality(quality)
    one, other = quality[:, None], quality[None, :]
    torch.testing.assert_close(weight.diagonal(), quality)
    torch.testing.assert_close(weight, weight.t())
    assert (weight <= (one * other).sqrt() + 1e-12).all()
    assert (weight >= torch.minimum(one, other) - 1e-12).all()
    assert (weight <= 2 * torch.minimum(one, other) + 1e-12).all()
    z, ids, _ = example()
    ones = torch.ones(12)
    assert torch.equal(loss(z, ids, ones), loss(z, ids, ones, weighting="none"))


def test_other_positives_are_not_negatives():
    """Copying a positive leaves the terms of the other pairs unchanged."""
    z, _, _ = example(count=4)
    ids, ones = torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.float64)
    more, more_ids = torch.cat([z, z[1:2]]), torch.tensor([0, 0, 1, 1, 0])
    before = [reference.contrastive(z, [0, 0, 1, 1], [1] * 4).item()]
    assert loss(z, ids, ones).item() == pytest.approx(before[0])
    output = identity_contrastive(more, more_ids, torch.ones(5, dtype=torch.float64))
    # Anchor 0 has one positive twice, so that its mean over positives does not change.
    scores = (more / more.norm(dim=1, keepdim=True)) @ (more / more.norm(dim=1, keepdim=True)).t() / 0.1
    term = lambda a, b: -(scores[a, b] - torch.logsumexp(torch.stack([scores[a, b], scores[a, 2], scores[a, 3]]), 0))  # noqa: E731
    assert term(0, 1).item() == pytest.approx(term(0, 4).item())
    assert output.num_pairs == 8


def test_reductions_agree_for_equal_numbers_of_positives():
    z, _, quality = example()
    ids = torch.arange(12) % 4
    quality = quality.clamp(min=0.6)
    pair = loss(z, ids, quality)
    torch.testing.assert_close(loss(z, ids, quality, reduction="anchor"), pair)
    scaled = loss(z, ids, quality, reduction="anchor", scale_by_tau=True)
    torch.testing.assert_close(scaled, 0.1 * pair)


def test_reported_similarities():
    z, ids, _ = example()
    output = identity_contrastive(z, ids, torch.ones(12))
    unit = z / z.norm(dim=1, keepdim=True)
    same, other = [], []
    for a, b in itertools.permutations(range(12), 2):
        (same if ids[a] == ids[b] else other).append(float(unit[a] @ unit[b]))
    assert output.num_pairs == len(same)
    assert output.mean_pos_sim.item() == pytest.approx(sum(same) / len(same))
    assert output.mean_neg_sim.item() == pytest.approx(sum(other) / len(other))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    z, ids, quality = example()
    found = loss(z.to(dtype), ids, quality)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), loss(z, ids, quality), rtol=5e-2, atol=5e-2)


def test_inter_object_similarity_equals_a_loop():
    z = torch.randn(9, 3) + 1.5
    frames = torch.tensor([0, 0, 0, 1, 1, 2, 4, 4, 4])
    wanted = [
        torch.cosine_similarity(z[a], z[b], 0).item()
        for a, b in itertools.combinations(range(9), 2)
        if frames[a] == frames[b]
    ]
    found = inter_object_similarity(z, frames, bins=10)
    assert sorted(found.similarity.tolist()) == pytest.approx(sorted(wanted), abs=1e-6)
    assert found.above.item() == pytest.approx(sum(one > 0.9 for one in wanted) / len(wanted))
    assert found.mean.item() == pytest.approx(sum(wanted) / len(wanted), abs=1e-6)
    assert found.histogram.sum() == len(wanted)
    assert found.histogram[9] == sum(one >= 0.8 for one in wanted)
    assert inter_object_similarity(z[:0], frames[:0]).above == 0
