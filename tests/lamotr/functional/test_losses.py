"""The decoupled loss: values by hand, bookkeeping of its terms, padding, and gradients."""

import math

import pytest
import torch

from lamotr import DecoupledFrame, LossSettings, association_loss, decoupled_loss, valid_pairs
from mot_core.structures import FrameTargets

F64 = torch.float64


def bce(logit, label):
    p = 1 / (1 + math.exp(-logit))
    return -math.log(p if label else 1 - p)


def focal(logit, label, alpha=0.25, gamma=2.0):
    p = 1 / (1 + math.exp(-logit))
    return -alpha * (1 - p) ** gamma * math.log(p) if label else -(1 - alpha) * p**gamma * math.log(1 - p)


def giou(a, b):
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    left, right = max(ax - aw / 2, bx - bw / 2), min(ax + aw / 2, bx + bw / 2)
    top, bottom = max(ay - ah / 2, by - bh / 2), min(ay + ah / 2, by + bh / 2)
    inter = max(right - left, 0) * max(bottom - top, 0)
    union = aw * ah + bw * bh - inter
    hull_w = max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)
    hull_h = max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2)
    return inter / union - (hull_w * hull_h - union) / (hull_w * hull_h)


def frame(objects=2, tracklets=2, seed=0, batch=1, gt=2, **changes):
    generator = torch.Generator().manual_seed(seed)

    def boxes(count):
        return torch.rand(batch, count, 4, generator=generator, dtype=F64) * 0.4 + 0.2

    def logits(*shape):
        return torch.randn(batch, *shape, generator=generator, dtype=F64)

    labels = torch.zeros(batch, gt, dtype=torch.int64)
    targets = FrameTargets(boxes(gt), labels, torch.arange(gt).expand(batch, -1), labels == 0)
    given = {
        "obj_logits": logits(objects, 1),
        "obj_boxes_cxcywh": boxes(objects),
        "tck_logits": logits(tracklets, 1),
        "tck_boxes_cxcywh": boxes(tracklets),
        "score_logits": logits(objects, tracklets),
        "obj_match": torch.full((batch, objects), -1).scatter(
            1, torch.arange(min(gt, objects)).expand(batch, -1), torch.arange(min(gt, objects)).expand(batch, -1)
        ),
        "tck_match": torch.full((batch, tracklets), -1),
        "targets": targets,
    }
    return DecoupledFrame(**(given | changes))


def by_hand(logits, boxes, match, targets):
    total = 0.0
    for row, index in enumerate(match.tolist()):
        total += 2 * focal(logits[row, 0].item(), index >= 0)
        if index >= 0:
            a, b = boxes[row].tolist(), targets.boxes_cxcywh[0, index].tolist()
            total += 5 * sum(abs(x - y) for x, y in zip(a, b, strict=True)) + 2 * (1 - giou(a, b))
    return total


def test_values_of_two_objects_and_two_tracklets():
    one = frame(tck_match=torch.tensor([[1, -1]]))
    terms = decoupled_loss([one, one])
    detection = by_hand(one.obj_logits[0], one.obj_boxes_cxcywh[0], one.obj_match[0], one.targets) / 4
    tracking = by_hand(one.tck_logits[0], one.tck_boxes_cxcywh[0], one.tck_match[0], one.targets) / 4
    scores = one.score_logits[0].tolist()
    association = sum(bce(scores[i][j], (i, j) == (1, 0)) for i in range(2) for j in range(2)) / 4
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {
            "detection_1": detection,
            "detection_2": detection,
            "tracking_2": tracking,
            "association_2": 10 * association,
        }
    )


def test_terms_of_three_frames_and_their_weights():
    clip = [frame(seed=seed, tck_match=torch.tensor([[0, 1]])) for seed in range(3)]
    terms = decoupled_loss(clip)
    kinds = [name.split("_")[0] for name in terms]
    assert {kind: kinds.count(kind) for kind in kinds} == {"detection": 3, "tracking": 2, "association": 2}
    for kind in ("detection", "tracking", "association"):
        changed = decoupled_loss(
            clip, LossSettings(**{f"{kind}_weight": 3.0 * getattr(LossSettings(), f"{kind}_weight")})
        )
        for name, term in terms.items():
            torch.testing.assert_close(changed[name], term * (3 if name.startswith(kind) else 1))
    doubled = decoupled_loss(clip, count=torch.tensor(12.0))  # twice the six objects of the clip
    torch.testing.assert_close(doubled["detection_2"], terms["detection_2"] / 2)
    torch.testing.assert_close(doubled["association_2"], terms["association_2"])


def test_perfect_predictions_have_no_loss():
    base = frame()
    boxes, sure = base.targets.boxes_cxcywh, torch.full((1, 2, 1), 20.0, dtype=F64)
    index, scores = torch.tensor([[0, 1]]), torch.tensor([[[20.0, -20], [-20, 20]]], dtype=F64)
    perfect = frame(obj_logits=sure, tck_logits=sure, obj_boxes_cxcywh=boxes, tck_boxes_cxcywh=boxes,
                    score_logits=scores, obj_match=index, tck_match=index)  # fmt: skip
    assert sum(decoupled_loss([perfect] * 3).values()).item() == pytest.approx(0, abs=1e-4)


def test_padding_changes_nothing_even_with_nan():
    wanted = decoupled_loss([frame(), frame(tck_match=torch.tensor([[1, 0]]))])
    padded = []
    for tracked in (torch.tensor([[-1, -1]]), torch.tensor([[1, 0]])):
        one = frame(tck_match=tracked)
        longer = {}
        for name, value in vars(one).items():
            if name == "score_logits":
                longer[name] = torch.nn.functional.pad(value, (0, 2, 0, 1), value=torch.nan)
            elif "match" in name:
                longer[name] = torch.nn.functional.pad(value, (0, 1 if name[0] == "o" else 2), value=0)
            elif name[:3] in ("obj", "tck") and value is not None:
                longer[name] = torch.nn.functional.pad(value, (0, 0, 0, 1 if name[0] == "o" else 2), value=torch.nan)
        longer["score_logits"].requires_grad_()
        pads = {"obj_pad": torch.tensor([[False] * 2 + [True]]), "tck_pad": torch.tensor([[False] * 2 + [True] * 2])}
        padded.append(frame(**(longer | pads)))
    found = decoupled_loss(padded)
    torch.testing.assert_close(found, wanted)
    (gradient,) = torch.autograd.grad(found["association_2"], padded[1].score_logits)
    assert gradient.isfinite().all()
    assert not gradient[:, 2:].any()
    assert not gradient[:, :, 2:].any()


def test_no_tracklets_gives_connected_zeros():
    scores, logits = torch.zeros(1, 2, 0, requires_grad=True), torch.zeros(1, 0, 1, requires_grad=True)
    empty = frame(tracklets=0, score_logits=scores, tck_logits=logits)
    terms = decoupled_loss([frame(), empty])
    assert terms["tracking_2"].item() == terms["association_2"].item() == 0
    gradients = torch.autograd.grad(terms["tracking_2"] + terms["association_2"], [scores, logits])
    assert [one.shape for one in gradients] == [scores.shape, logits.shape]


def test_foreground_pairs():
    one = frame(objects=3, gt=1, obj_logits=torch.tensor([[[-5.0], [5.0], [-5.0]]], dtype=F64))
    assert valid_pairs(one, "foreground")[0].any(1).tolist() == [True, True, False]
    loss = decoupled_loss([one, one], LossSettings(pairs="foreground", association_weight=1))["association_2"]
    assert loss.item() == pytest.approx(sum(bce(s, False) for s in one.score_logits[0, :2].flatten().tolist()) / 4)


def test_association_loss_gradients_weight_and_half_precision():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, generator=generator, dtype=F64, requires_grad=True)
    target = torch.rand(2, 3, 4, generator=generator) < 0.3
    valid = torch.rand(2, 3, 1, generator=generator) < 0.7
    torch.autograd.gradcheck(lambda x: association_loss(x, target, valid, 3.0), logits)
    pairs = [(x, y) for x, y, v in zip(logits.flatten().tolist(), target.flatten(), valid.expand_as(target).flatten(),
                                       strict=True) if v]  # fmt: skip
    wanted = sum((3 if y else 1) * bce(x, y) for x, y in pairs) / len(pairs)
    assert association_loss(logits, target, valid, 3.0).item() == pytest.approx(wanted)
    half = association_loss(logits.half(), target, valid, 3.0)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(wanted, rel=1e-3)
    assert association_loss(logits, target, torch.zeros(2, 3, 4).bool()).item() == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="pairs: expected all or foreground, got 'some'"):
        LossSettings(pairs="some")
    with pytest.raises(ValueError, match="at least one frame"):
        decoupled_loss([])
