"""Losses equal plain loops over slots and objects, with any number of processes."""

import math

import pytest
import torch

from _helpers.trackers.tiny_detectors import make_targets
from _helpers.two_process.criterion import gradient, make_output, one_frame
from _helpers.two_process.launch import launch
from mot_core.nn import SetCriterion, count_boxes, detection_losses, sigmoid_focal_loss


def plain_losses(logits, boxes, gt_index, targets):
    """Sums over slots, written as in the papers."""
    sums = {"class": 0.0, "l1": 0.0, "giou": 0.0}
    for frame in range(len(logits)):
        for slot, row in enumerate(gt_index[frame].tolist()):
            for label, logit in enumerate(logits[frame, slot].tolist()):
                p = 1 / (1 + math.exp(-logit))
                positive = row >= 0 and targets.labels[frame, row].item() == label
                sums["class"] += -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)
            if row < 0:
                continue
            box, target = boxes[frame, slot].tolist(), targets.boxes_cxcywh[frame, row].tolist()
            sums["l1"] += sum(abs(a - b) for a, b in zip(box, target, strict=True))
            (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = (
                (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (box, target)
            )
            overlap = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
            union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - overlap
            hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
            sums["giou"] += 1 - (overlap / union - (hull - union) / hull)
    return sums


def test_equals_plain_loops():
    output, targets = make_output(), make_targets([3, 2], classes=2)
    losses, gt_index = SetCriterion()(output, targets)
    for layer, suffix in ((0, "_0"), (1, "")):
        plain = plain_losses(output.logits[layer], output.boxes_cxcywh[layer], gt_index[layer], targets)
        for name, value in plain.items():
            assert losses[name + suffix].item() == pytest.approx(value / 5, rel=1e-9), name
    weights = {"class": 2, "l1": 5, "giou": 2}
    expected = sum(weights[name.split("_")[0]] * loss.item() for name, loss in losses.items())
    assert SetCriterion().total(losses).item() == pytest.approx(expected)


def test_gradients():
    targets = make_targets([3, 2], classes=2)
    output = make_output(layers=1)
    _, gt_index = SetCriterion()(output, targets)

    def total(logits, boxes):
        return SetCriterion().total(detection_losses(logits, boxes, gt_index[0], targets))

    inputs = [tensor[0].detach().clone().requires_grad_() for tensor in (output.logits, output.boxes_cxcywh)]
    assert torch.autograd.gradcheck(total, inputs)


def test_focal_loss_with_gamma_0_is_cross_entropy():
    logits = torch.linspace(-30, 30, 7, dtype=torch.float64)
    for target in (torch.zeros(7), torch.ones(7)):
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.double(), reduction="none") / 2
        torch.testing.assert_close(sigmoid_focal_loss(logits, target, alpha=0.5, gamma=0.0), expected)


def test_losses_are_additive_over_frames():
    """Undivided losses of single frames add up to those of the batch, so a clip may choose its normalization."""
    output, targets = make_output(layers=1), make_targets([3, 2], classes=2)
    _, gt_index = SetCriterion()(output, targets)
    batch = detection_losses(output.logits[0], output.boxes_cxcywh[0], gt_index[0], targets)
    frames = [
        detection_losses(
            output.logits[0, frame, None],
            output.boxes_cxcywh[0, frame, None],
            gt_index[0, frame, None],
            one_frame(targets, frame),
        )
        for frame in range(2)
    ]
    for name, loss in batch.items():
        torch.testing.assert_close(frames[0][name] + frames[1][name], loss)


@pytest.mark.parametrize("size", [0, 3])
def test_frames_without_objects(size):
    output, targets = make_output(), make_targets([0, 0], size=size)
    losses, gt_index = SetCriterion()(output, targets)
    assert (gt_index == -1).all()
    assert losses["l1"].item() == losses["giou"].item() == 0
    assert losses["class"].item() > 0
    # All of them are differentiable: no DDP process may lack a gradient.
    SetCriterion().total(losses).backward()
    assert not output.boxes_cxcywh.grad.any()
    assert count_boxes(targets).item() == 1


def test_invalid_slots_have_no_effect():
    output, targets = make_output(layers=1), make_targets([3, 2], classes=2)
    _, gt_index = SetCriterion()(output, targets)
    logits, boxes = output.logits[0].detach(), output.boxes_cxcywh[0].detach()
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[:, 3:] = False
    masked = detection_losses(logits, boxes, gt_index[0], targets, valid)
    cut = detection_losses(logits[:, :3], boxes[:, :3], gt_index[0][:, :3], targets)
    for name, loss in cut.items():
        torch.testing.assert_close(masked[name], loss)


def test_half_precision_sums_in_float32():
    output, targets = make_output(layers=1), make_targets([3, 2], classes=2)
    _, gt_index = SetCriterion()(output, targets)
    exact = detection_losses(output.logits[0], output.boxes_cxcywh[0], gt_index[0], targets)
    half = detection_losses(output.logits[0].bfloat16(), output.boxes_cxcywh[0].bfloat16(), gt_index[0], targets)
    for name, loss in exact.items():
        assert half[name].dtype == torch.float32
        assert half[name].item() == pytest.approx(loss.item(), rel=0.05)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    launch("criterion", tmp_path)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for one, first, second in zip(gradient(), *ranks, strict=True):
        torch.testing.assert_close((first + second) / 2, one)  # DDP averages
