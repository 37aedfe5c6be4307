"""Matching and losses of MOTR compared with loops over slots, objects and assignments."""

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.structures import FrameOutput, FrameTargets
from mot_core.trackers.motr.collective_loss import CollectiveLoss

CLIPS, OBJECT_SLOTS, TRACK_SLOTS, CLASSES = 2, 5, 4, 2


def random_frame(seed, aux=1):
    """Return random slots with padding and false positives, and objects, some invalid or without identity."""
    random = torch.Generator().manual_seed(seed)
    slots = OBJECT_SLOTS + TRACK_SLOTS

    def layer(**more):
        return FrameOutput(
            0.1 + 0.8 * torch.rand(CLIPS, slots, 4, generator=random, dtype=torch.float64),
            torch.randn(CLIPS, slots, CLASSES, generator=random, dtype=torch.float64),
            valid, torch.ones(CLIPS, 2), torch.ones(CLIPS, dtype=torch.int64), **more,
        )  # fmt: skip

    valid = torch.ones(CLIPS, slots, dtype=torch.bool)
    valid[1, -1] = False
    is_track = valid & (torch.arange(slots) >= OBJECT_SLOTS)
    ids = torch.stack([torch.randperm(6, generator=random)[:slots] for _ in range(CLIPS)])
    track_ids = torch.full((CLIPS, slots), -1)
    track_ids[:, OBJECT_SLOTS:] = ids[:, :TRACK_SLOTS]
    track_ids[:, -2] = -1  # a false positive kept as a query
    track_ids = track_ids.where(is_track, -1)
    objects = int(torch.randint(0, 5, (), generator=random))
    gt_ids = torch.stack([torch.randperm(6, generator=random)[:objects] for _ in range(CLIPS)])
    targets = FrameTargets(
        0.1 + 0.8 * torch.rand(CLIPS, objects, 4, generator=random, dtype=torch.float64),
        torch.randint(0, CLASSES, (CLIPS, objects), generator=random),
        gt_ids.where(torch.rand(CLIPS, objects, generator=random) > 0.2, -1),
        torch.rand(CLIPS, objects, generator=random) > 0.2,
    )
    layers = tuple(layer() for _ in range(aux))
    return layer(is_track=is_track, track_ids=track_ids, aux=layers), targets


def corners(box):
    x, y, w, h = box
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def overlaps(a, b):
    """IoU and GIoU."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = corners(a), corners(b)
    inner = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inner
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return inner / union, inner / union - (hull - union) / hull


def distance(a, b):
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def cost(logits, box, label, target):
    p = 1 / (1 + math.exp(-logits[label]))
    focal = 0.25 * (1 - p) ** 2 * -math.log(p + 1e-8) - 0.75 * p**2 * -math.log(1 - p + 1e-8)
    return 2 * focal + 5 * distance(box, target) - 2 * overlaps(box, target)[1]


def plain(frame, layer, targets, all_objects, rematch=True, merged=True):
    """Compute gt_index, losses and count of a layer with loops over clips, slots and objects."""
    index = torch.full(frame.valid.shape, -1)
    sums, count = {"class": 0.0, "l1": 0.0, "giou": 0.0}, 0
    for clip in range(CLIPS):
        objects = [row for row in range(targets.ids.shape[1]) if targets.valid[clip, row]]
        count += len(objects)
        by_id = {targets.ids[clip, row].item(): row for row in objects if targets.ids[clip, row] >= 0}
        free, followed = [], set()
        for slot in range(frame.valid.shape[1]):
            identity = frame.track_ids[clip, slot].item()
            if not frame.valid[clip, slot]:
                continue
            if identity >= 0:
                count += identity not in by_id
                if merged:
                    index[clip, slot] = by_id.get(identity, -1)
                    followed.add(by_id.get(identity))
            elif not frame.is_track[clip, slot] or (rematch and merged and not all_objects):
                free.append(slot)
        wanted = [row for row in objects if all_objects or row not in followed]
        boxes, logits = layer.boxes_cxcywh[clip].tolist(), layer.logits[clip].tolist()
        truths, labels = targets.boxes_cxcywh[clip].tolist(), targets.labels[clip].tolist()
        best = min(
            permutations(free, len(wanted)),
            key=lambda slots: sum(
                cost(logits[slot], boxes[slot], labels[row], truths[row])
                for slot, row in zip(slots, wanted, strict=True)
            ),
        )
        for slot, row in zip(best, wanted, strict=True):
            index[clip, slot] = row
        for slot in range(frame.valid.shape[1]):
            if not layer.valid[clip, slot]:
                continue
            row = index[clip, slot].item()
            for label, logit in enumerate(logits[slot]):
                p = 1 / (1 + math.exp(-logit))
                positive = row >= 0 and labels[row] == label
                sums["class"] += -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)
            if row >= 0:
                sums["l1"] += distance(boxes[slot], truths[row])
                sums["giou"] += 1 - overlaps(boxes[slot], truths[row])[1]
    return index, sums, count


@pytest.mark.parametrize(
    ("all_objects", "rematch", "merge_layer"), [(False, True, 0), (True, True, 0), (False, False, 1), (True, False, 1)]
)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_loss_matches_loops(all_objects, rematch, merge_layer, seed):
    frame, targets = random_frame(seed)
    early = [replace(layer, valid=layer.valid & ~frame.is_track) for layer in frame.aux[:merge_layer]]
    frame = replace(frame, aux=(*early, *frame.aux[merge_layer:]))
    criterion = CollectiveLoss(all_objects=all_objects, rematch_tracks=rematch, merge_layer=merge_layer)
    matched, losses, count = criterion(frame, targets)
    matchings = criterion.match(frame, targets)
    for layer, (predicted, own) in enumerate(zip([*frame.aux, frame], losses, strict=True)):
        index, sums, number = plain(frame, predicted, targets, all_objects, rematch, layer >= merge_layer)
        assert torch.equal(matchings[layer], index)
        assert {name: value.item() for name, value in own.items()} == pytest.approx(sums)
        assert count.item() == number
    assert torch.equal(matched.gt_index, matchings[-1])
    for clip, slot in (matched.gt_index >= 0).nonzero().tolist():
        truth = targets.boxes_cxcywh[clip, matched.gt_index[clip, slot]].tolist()
        expected = overlaps(frame.boxes_cxcywh[clip, slot].tolist(), truth)[0]
        assert matched.iou[clip, slot].item() == pytest.approx(expected)
    assert (matched.iou[matched.gt_index < 0] == 0).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 3))
def test_padding_does_not_change_the_losses(seed, rows):
    frame, targets = random_frame(seed)
    more = {
        name: torch.cat([value, value[:, :1].expand(-1, rows, *value.shape[2:])], 1) if value.shape[1] else value
        for name, value in ((name, getattr(targets, name)) for name in targets.SHAPES)
    }
    more["valid"] = more["valid"].clone()
    more["valid"][:, targets.valid.shape[1] :] = False
    matched, losses, count = CollectiveLoss()(frame, targets)
    padded, same, number = CollectiveLoss()(frame, FrameTargets(**more))
    assert torch.equal(matched.gt_index, padded.gt_index)
    assert count == number
    assert losses == same


def test_padding_gets_no_gradient():
    frame, targets = random_frame(3)
    logits, boxes = frame.logits.requires_grad_(), frame.boxes_cxcywh.requires_grad_()
    _, losses, _ = CollectiveLoss()(replace(frame, logits=logits, boxes_cxcywh=boxes), targets)
    sum(losses[-1].values()).backward()
    assert logits.grad[frame.valid].abs().min() > 0
    assert not logits.grad[~frame.valid].any()
    assert not boxes.grad[~frame.valid].any()


def test_frame_without_objects():
    frame, targets = random_frame(3)
    nothing = FrameTargets(**{name: getattr(targets, name)[:, :0] for name in targets.SHAPES})
    matched, losses, count = CollectiveLoss()(frame, nothing)
    assert (matched.gt_index == -1).all()
    assert count == (frame.track_ids >= 0).sum() > 0
    assert losses[-1]["l1"] == losses[-1]["giou"] == 0 < losses[-1]["class"]
