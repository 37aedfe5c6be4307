"""Slots of a dense detector: one per object and the strongest false detections, against plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mot_core.boxes import cxcywh_to_xyxy, iou
from mot_core.nn import DenseOutput
from mot_core.trackers.compaction import cell_of_each_object, choose_slots, suppress


def make_output(seed, images=2, cells=30, classes=2):
    """Return random overlapping boxes with an assignment to three objects."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(images, cells, 4, generator=generator, dtype=torch.float64) * 20 + 4
    logits = torch.randn(images, cells, classes, generator=generator, dtype=torch.float64)
    gt_index = torch.randint(-3, 3, (images, cells), generator=generator).clamp(min=-1)
    quality = torch.rand(images, cells, generator=generator, dtype=torch.float64)
    return DenseOutput(boxes, logits, None), gt_index, quality


def overlap(boxes, a, b):
    return iou(cxcywh_to_xyxy(boxes[a]), cxcywh_to_xyxy(boxes[b])).item()


def plain_choice(boxes, logits, gt_index, quality, extra, threshold):
    chosen = []
    for row in range(3):
        own = [cell for cell in range(len(boxes)) if gt_index[cell] == row]
        if own:
            chosen.append(max(own, key=lambda cell: quality[cell]))
    standing = []  # chosen cells suppress each other, too
    for cell in chosen:
        if all(overlap(boxes, cell, other) <= threshold for other in standing):
            standing.append(cell)
    kept = []
    free = [cell for cell in range(len(boxes)) if gt_index[cell] < 0]
    for cell in sorted(free, key=lambda cell: -max(logits[cell])):
        if all(overlap(boxes, cell, other) <= threshold for other in standing + kept):
            kept.append(cell)
    return chosen + kept[:extra]


@pytest.mark.parametrize("extra", [0, 1, 4, 100])
@pytest.mark.parametrize("seed", range(4))
def test_choice_equals_plain_loops(seed, extra):
    output, gt_index, quality = make_output(seed)
    cells, valid = choose_slots(output, gt_index, quality, 3, extra, nms_threshold=0.4)
    for image in range(2):
        expected = plain_choice(
            output.boxes_cxcywh[image], output.logits[image].tolist(), gt_index[image], quality[image], extra, 0.4
        )
        assert cells[image][valid[image]].tolist() == expected


@given(st.integers(0, 10**6))
def test_every_assigned_object_has_one_slot(seed):
    output, gt_index, quality = make_output(seed, cells=12)
    cells, valid = choose_slots(output, gt_index, quality, 3, 5)
    found = gt_index.gather(1, cells).where(valid, -1)
    for image in range(2):
        objects = sorted(found[image][found[image] >= 0].tolist())
        assert objects == sorted(set(gt_index[image].tolist()) - {-1})


def test_no_objects_and_no_candidates():
    output, gt_index, quality = make_output(0)
    cells, valid = choose_slots(output, torch.full_like(gt_index, -1), quality, 0, 0)
    assert cells.shape == valid.shape == (2, 0)
    assert cell_of_each_object(gt_index, quality, 0).shape == (2, 0)
    cells, valid = choose_slots(output, gt_index.clamp(min=0), quality, 3, 5)  # every cell has an object
    assert (gt_index.clamp(min=0).gather(1, cells)[valid] >= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_suppression_equals_plain_loops(seed):
    output, *_ = make_output(seed, images=1)
    scores = [max(1 / (1 + math.exp(-logit)) for logit in row) for row in output.logits[0].tolist()]
    labels = output.logits[0].argmax(-1).tolist()
    kept = []
    for cell in sorted(range(len(scores)), key=lambda cell: -scores[cell]):
        rivals = [other for other in kept if labels[other] == labels[cell]]
        if scores[cell] >= 0.6 and all(overlap(output.boxes_cxcywh[0], cell, other) <= 0.3 for other in rivals):
            kept.append(cell)
    assert suppress(output, 0.6, nms_threshold=0.3).tolist() == kept
    few = suppress(output, 0.6, nms_threshold=1.0, max_candidates=3)
    assert few.tolist() == sorted(range(len(scores)), key=lambda cell: -scores[cell])[:3]
