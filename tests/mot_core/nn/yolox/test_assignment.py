"""SimOTA equals plain loops over cells and objects, and treats unusual images as ordinary ones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou
from mot_core.nn import SimOTA
from mot_core.nn.yolox.head import cell_grid, decode_boxes

SHAPES, STRIDES, SIZE = [(6, 8), (3, 4)], (8, 16), (48, 64)


def make_inputs(seed, objects, classes=2, dtype=torch.float64):
    """Return the arguments of the assignment for an image with random predictions and objects."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    cells, strides = cell_grid(SHAPES, STRIDES, torch.zeros((), dtype=dtype))
    boxes = decode_boxes(normal(1, len(cells), 4), cells, strides)[0]
    scale = torch.tensor([64, 48, 30, 30], dtype=dtype)
    truth = torch.rand(objects, 4, generator=generator, dtype=torch.float64).to(dtype) * scale + 1
    labels = torch.randint(classes, (objects,), generator=generator)
    return boxes, normal(len(cells)), normal(len(cells), classes), cells, strides, truth, labels, SIZE


def plain_assignment(boxes, objectness, class_logits, cells, strides, truth, labels, size, radius=2.5):
    """The rules of the paper, cell by cell, in Python numbers."""
    overlaps = pairwise_iou(cxcywh_to_xyxy(truth), cxcywh_to_xyxy(boxes)).tolist()
    centers = [[(x + 0.5) * s for x in cell] for cell, s in zip(cells.tolist(), strides.tolist(), strict=True)]

    def within(center, middle, half_width, half_height):
        return abs(center[0] - middle[0]) < half_width and abs(center[1] - middle[1]) < half_height

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    candidates, cost = set(), {}
    for g, (cx, cy, w, h) in enumerate(truth.tolist()):
        middle = min(max(cx, 0), size[1]), min(max(cy, 0), size[0])
        for a, center in enumerate(centers):
            reach = radius * strides[a].item()
            inside, central = within(center, (cx, cy), w / 2, h / 2), within(center, middle, reach, reach)
            if inside or central:
                candidates.add(a)
            value = 0 if inside and central else 100_000
            for k, logit in enumerate(class_logits[a].tolist()):
                p = math.sqrt(sigmoid(logit) * sigmoid(objectness[a].item()))
                value -= math.log(p) if k == labels[g].item() else math.log(1 - p)
            cost[g, a] = value - 3 * math.log(overlaps[g][a] + 1e-8)
    wanted = {a: [] for a in candidates}
    for g in range(len(truth)):
        best = sorted((overlaps[g][a] for a in candidates), reverse=True)[:10]
        for a in sorted(candidates, key=lambda a: cost[g, a])[: max(1, int(sum(best)))]:
            wanted[a].append(g)
    index, iou = [-1] * len(boxes), [0.0] * len(boxes)
    for a, objects in wanted.items():
        if objects:
            rivals = objects if len(objects) == 1 else range(len(truth))  # the cheapest of all, as in the original
            index[a] = min(rivals, key=lambda g: cost[g, a])
            iou[a] = overlaps[index[a]][a]
    return index, iou


@pytest.mark.parametrize("objects", [1, 2, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_equals_plain_loops(seed, objects):
    inputs = make_inputs(seed, objects)
    index, iou = SimOTA()(*inputs)
    expected, overlaps = plain_assignment(*inputs)
    assert index.tolist() == expected
    assert iou.tolist() == pytest.approx(overlaps)


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=25)
def test_order_of_objects_does_not_matter(seed, objects):
    *predictions, truth, labels, size = make_inputs(seed, objects)
    order = torch.randperm(objects, generator=torch.Generator().manual_seed(seed))
    index, overlap = SimOTA()(*predictions, truth, labels, size)
    moved, moved_overlap = SimOTA()(*predictions, truth[order], labels[order], size)
    moved = torch.where(moved >= 0, order[moved.clamp(min=0)], -1)
    # Two objects of one class that a box overlaps as little have equal costs, of which the first one counts.
    equal = (index >= 0) & (moved >= 0) & (overlap == 0) & (moved_overlap == 0) & (labels[index] == labels[moved])
    assert torch.equal(torch.where(equal, index, moved), index)


def test_no_objects():
    index, iou = SimOTA()(*make_inputs(0, 0))
    assert (index == -1).all()
    assert not iou.any()


def test_objects_at_the_border_and_outside():
    """An object with its center outside of the image gets a cell, one that is far away from every cell does not."""
    *predictions, _, labels, _ = make_inputs(0, 2)
    outside = torch.tensor([[-10.0, 24.0, 40.0, 30.0], [80.0, 24.0, 60.0, 30.0]], dtype=torch.float64)
    index, _ = SimOTA()(*predictions, outside, labels, SIZE)
    assert set(index.tolist()) == {-1, 0, 1}
    larger = [cells + 1000 if number == 3 else cells for number, cells in enumerate(predictions)]
    index, _ = SimOTA()(*larger, outside, labels, SIZE)
    assert (index == -1).all()


def test_half_precision():
    """The choice is that of float32 on the rounded numbers."""
    half = make_inputs(1, 4, dtype=torch.bfloat16)
    wide = [part.float() if isinstance(part, torch.Tensor) and part.is_floating_point() else part for part in half]
    same = (SimOTA()(*half)[0] == SimOTA()(*wide)[0]).float().mean()
    assert same > 0.9
