import math

import pytest
import torch

from em_kalman import AssociationNetwork, compose_chain, distill_loss, pairwise_box_features

F64 = torch.float64


def random_boxes(count, seed):
    rng = torch.Generator().manual_seed(seed)
    corner = 50 * torch.rand(count, 2, generator=rng, dtype=F64)
    return torch.cat([corner, corner + 5 + 40 * torch.rand(count, 2, generator=rng, dtype=F64)], 1)


def by_hand(one, two, extra):
    (l1, t1, r1, b1), (l2, t2, r2, b2) = one, two
    w1, h1, w2, h2 = r1 - l1, b1 - t1, r2 - l2, b2 - t2
    overlap = max(0, min(r1, r2) - max(l1, l2) + extra) * max(0, min(b1, b2) - max(t1, t2) + extra)
    union = (w1 + extra) * (h1 + extra) + (w2 + extra) * (h2 + extra) - overlap
    return [2 * (b1 - b2) / (h1 + h2), 2 * (l1 - l2) / (h1 + h2), math.log(h1 / h2), math.log(w1 / w2), overlap / union]


@pytest.mark.parametrize("inclusive", [False, True])
def test_features_of_a_small_example(inclusive):
    earlier, later = random_boxes(4, 0), random_boxes(3, 1)
    wanted = [[by_hand(a.tolist(), b.tolist(), float(inclusive)) for b in later] for a in earlier]
    found = pairwise_box_features(earlier, later, inclusive=inclusive)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=F64))


def test_empty_boxes_have_finite_features_and_gradients():
    boxes = torch.zeros(2, 4, requires_grad=True)
    features = pairwise_box_features(boxes, random_boxes(3, 0).float())
    features.sum().backward()
    assert features.isfinite().all()
    assert boxes.grad.isfinite().all()


def test_empty_input():
    assert AssociationNetwork()(pairwise_box_features(torch.zeros(0, 4), random_boxes(3, 0).float())).shape == (0, 3)


def test_chain_product():
    rng = torch.Generator().manual_seed(0)
    adjacent = torch.rand(2, 3, 4, 4, generator=rng, dtype=F64)
    anchors = torch.tensor([[True, True, False, True], [True] * 4])
    chain = compose_chain(adjacent, anchors)
    for b in range(2):
        for t in range(4):
            for k in range(4):
                share = [float(k == n and anchors[b, k]) for n in range(4)]
                for s in range(t):  # random walk over frames
                    share = [sum(share[i] * adjacent[b, s, i, j] for i in range(4)) for j in range(4)]
                torch.testing.assert_close(chain[b, t, k], torch.tensor(share, dtype=F64))


def test_chain_diffusion():
    for right, wanted in ((0.99, 0.914), (0.95, 0.638), (0.9, 0.412), (0.7, 0.123)):
        adjacent = torch.full((9, 10, 10), (1 - right) / 9, dtype=F64)
        adjacent.diagonal(dim1=1, dim2=2).fill_(right)
        assert round(compose_chain(adjacent)[-1].diagonal().mean().item(), 3) == pytest.approx(wanted, abs=1e-3)


def test_distillation_loss_by_columns():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, generator=rng, dtype=F64, requires_grad=True)
    teacher = torch.rand(2, 4, 3, generator=rng, dtype=F64).softmax(1).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    wanted = [
        sum(
            p * math.log(p / q)
            for p, q in zip(teacher[b, :, n].tolist(), logits[b, :, n].softmax(0).tolist(), strict=True)
        )
        for b in range(2)
        for n in range(3)
        if mask[b, n]
    ]
    found = distill_loss(logits, teacher, mask)
    assert found.item() == pytest.approx(sum(wanted) / 5)
    found.backward()
    assert teacher.grad is None
    assert logits.grad[0, :, 2].abs().sum() == 0
    assert distill_loss(teacher.detach().log(), teacher).item() == pytest.approx(0, abs=1e-12)
