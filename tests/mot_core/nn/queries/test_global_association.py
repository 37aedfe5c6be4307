"""Association transformer of GTR: targets and loss against plain loops, gradients, order and empty frames."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from mot_core.nn import (
    GlobalAssociation,
    association_probabilities,
    window_association_loss,
    window_association_targets,
)


def make_head(**options):
    torch.manual_seed(0)
    return GlobalAssociation(3, 16, pool_size=2, num_heads=2, **options).double()


def plain_probabilities(logits, counts):
    found, start = torch.zeros_like(logits), 0
    for count in counts:
        for row in range(len(logits)):
            total = 1 + sum(math.exp(logits[row, start + j].item()) for j in range(count))
            for j in range(count):
                found[row, start + j] = math.exp(logits[row, start + j].item()) / total
        start += count
    return found


def plain_targets(overlaps, identities):
    known = sorted({one for ids in identities for one in ids.tolist() if one >= 0})
    slots, rows = [], []
    for identity in known:
        slots.append([])
        for overlap, ids in zip(overlaps, identities, strict=True):
            best, value = overlap.shape[1], 0.0
            for row in range(len(ids)):
                for column in range(overlap.shape[1]):
                    if ids[row] == identity and overlap[row, column] > value:
                        best, value = column, overlap[row, column].item()
            slots[-1].append(best)
    for time, overlap in enumerate(overlaps):
        for column in range(overlap.shape[1]):
            owners = [index for index in range(len(known)) if slots[index][time] == column]
            rows.append(owners[-1] if owners else -1)
    return slots, rows


def plain_loss(logits, counts, slots, rows, negatives):
    total = number = 0.0
    for row, identity in enumerate(rows):
        if identity < 0 and not negatives:
            continue
        start = 0
        for time, count in enumerate(counts):
            values = [logits[row, start + j].item() for j in range(count)] + [0.0]
            wanted = slots[identity][time] if identity >= 0 else count
            total += math.log(sum(map(math.exp, values))) - values[wanted]
            number += wanted < count
            start += count
    return total, number


def make_case(seed, objects=(3, 0, 2, 4), boxes=(4, 2, 0, 3)):
    generator = torch.Generator().manual_seed(seed)
    overlaps = [
        torch.rand(n, m, generator=generator, dtype=torch.float64).sub(0.3).clamp(min=0)
        for n, m in zip(objects, boxes, strict=True)
    ]
    identities = [torch.randperm(5, generator=generator)[:n] - 1 for n in objects]
    logits = torch.randn(sum(boxes), sum(boxes), generator=generator, dtype=torch.float64)
    return overlaps, identities, logits, list(boxes)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("negatives", [True, False])
def test_targets_and_loss_equal_plain_loops(seed, negatives):
    overlaps, identities, logits, counts = make_case(seed)
    slots, rows = window_association_targets(overlaps, identities)
    wanted, owners = plain_targets(overlaps, identities)
    assert slots.tolist() == wanted
    assert rows.tolist() == owners
    total, number = window_association_loss(logits, counts, slots, rows, negatives=negatives)
    expected = plain_loss(logits, counts, wanted, owners, negatives)
    assert (total.item(), number.item()) == pytest.approx(expected)


def test_probabilities_equal_plain_loops():
    *_, logits, counts = make_case(0)
    torch.testing.assert_close(association_probabilities(logits, counts), plain_probabilities(logits, counts))


def test_no_objects_and_no_boxes():
    slots, rows = window_association_targets([torch.zeros(0, 2)], [torch.zeros(0).long()])
    assert slots.shape == (0, 1)
    assert rows.tolist() == [-1, -1]
    total, number = window_association_loss(torch.zeros(2, 2), [2], slots, rows)
    assert total.item() == pytest.approx(2 * math.log(3))
    assert number == 0
    head = make_head()
    logits = head(torch.zeros(0, 16).double(), [0, 0])
    total, number = window_association_loss(logits, [0, 0], *window_association_targets(
        [torch.zeros(1, 0)] * 2, [torch.tensor([3])] * 2
    ))  # fmt: skip
    total.backward()
    assert all(one.grad is not None for name, one in head.named_parameters() if not name.startswith("fc"))


@pytest.mark.parametrize("options", [{}, {"projection_layers": 2, "positions": True}])
def test_order_of_boxes_within_a_frame(options):
    """Permuted boxes give permuted logits."""
    head, generator = make_head(**options), torch.Generator().manual_seed(1)
    embeddings = torch.randn(7, 16, generator=generator, dtype=torch.float64)
    boxes = torch.rand(7, 4, generator=generator, dtype=torch.float64).sort(1).values
    order = torch.tensor([2, 0, 1, 3, 6, 5, 4])
    plain = head(embeddings, [3, 0, 4], boxes)
    moved = head(embeddings[order], [3, 0, 4], boxes[order])
    torch.testing.assert_close(plain[order][:, order], moved)
    torch.testing.assert_close(head(embeddings, [3, 0, 4], boxes, slice(3, None)), plain[3:])


def test_gradients():
    head = make_head(projection_layers=1)
    pooled = torch.rand(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    slots, rows = torch.tensor([[0, 1]]), torch.tensor([0, -1, -1, 0])
    assert gradcheck(lambda x: window_association_loss(head(head.embed(x), [2, 2]), [2, 2], slots, rows)[0], (pooled,))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_head()(torch.zeros(2, 16).double(), [1]), "counts: expected a sum of 2 boxes, got 1"),
        (
            lambda: make_head(positions=True)(torch.zeros(2, 16).double(), [2]),
            r"boxes_xyxy: expected corners in \[0, 1\] for the position embeddings, got None",
        ),
        (
            lambda: GlobalAssociation(3, 20, num_heads=2),
            "embed_dim: expected a multiple of 4 x num_heads = 8, got 20",
        ),
    ],
)
def test_invalid_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
