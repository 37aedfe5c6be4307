"""The matching cost kernel against the matcher's reference in float64."""

import pytest
import torch

from _helpers.kernels.comparison import assert_close
from mot_core.nn import HungarianMatcher
from mot_core.ops import choice
from mot_core.ops.fused import matching_cost
from mot_core.structures import FrameTargets

F64 = torch.float64


def make(batch, slots, objects, classes, dtype=F64, device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=F64)

    labels = torch.randint(0, classes, (batch, objects), generator=generator)
    valid = torch.ones(batch, objects, dtype=torch.bool)
    valid[:, objects // 2 + 1 :] = False
    labels[~valid] = -1  # padding
    boxes = uniform(batch, objects, 4)
    if objects > 2:
        boxes[:, 2, 2:] = 0  # without area
    targets = FrameTargets(boxes.to(device, dtype), labels.to(device), labels.to(device), valid.to(device))
    logits = 8 * uniform(batch, slots, classes) - 4
    return logits.to(device, dtype), uniform(batch, slots, 4).to(device, dtype), targets


def doubled(targets):
    return FrameTargets(targets.boxes_cxcywh.double(), targets.labels, targets.labels, targets.valid)


def both(logits, boxes, targets, matcher, monkeypatch):
    found = matcher.cost(logits, boxes, targets)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "CHOICE", "reference")
        wanted = matcher.cost(logits.double(), boxes.double(), doubled(targets))
    return [found.double().cpu()], [wanted.cpu()]


@pytest.mark.parametrize("gamma", [2.0, 1.5])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 3, 4), (1, 37, 33, 2)])
def test_equals_the_reference(shape, gamma, device, monkeypatch):
    assert_close(*both(*make(*shape, device=device), HungarianMatcher(gamma=gamma), monkeypatch), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_precisions(dtype, device, monkeypatch):
    assert_close(*both(*make(2, 5, 3, 4, dtype, device), HungarianMatcher(), monkeypatch), 1e-5)


def test_matching_equals_reference(device, monkeypatch):
    inputs = make(2, 9, 5, 3, torch.float32, device)
    found = HungarianMatcher()(*inputs)
    monkeypatch.setattr(choice, "CHOICE", "reference")
    assert torch.equal(found, HungarianMatcher()(*inputs))


def test_empty_inputs_fall_back_to_reference(device, monkeypatch):
    monkeypatch.setattr(matching_cost, "forward", None)
    assert HungarianMatcher().cost(*make(2, 5, 0, 4, device=device)).shape == (2, 5, 0)
    assert HungarianMatcher().cost(*make(2, 0, 3, 4, device=device)).shape == (2, 0, 3)


def test_operator_registration(device):
    logits, boxes, targets = make(2, 2, 1, 3, device=device)
    given = logits, boxes, targets.labels, targets.boxes_cxcywh, 2.0, 5.0, 2.0, 0.25, 2.0
    torch.library.opcheck(matching_cost.forward, given)
    found = torch.vmap(lambda *one: matching_cost.forward(*one, *given[4:]))(*(one[:, None] for one in given[:4]))
    torch.testing.assert_close(found[:, 0], matching_cost.forward(*given))


def test_compiles_without_breaks(device):
    logits, boxes, targets = make(1, 3, 2, 2, torch.float32, device)
    function = HungarianMatcher().cost
    compiled = torch.compile(lambda x, y: function(x, y, targets), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, boxes), function(logits, boxes, targets))
