"""Depth loss and foreground mask, against loops over pixels and boxes."""

import pytest
import torch
import torch.nn.functional as F

from _helpers import fdta_reference as reference
from fdta_adapters import depth_focal, depth_loss, foreground_mask


def example(seed=0, images=2, bins=5, height=4, width=6):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, bins, height, width, generator=random, dtype=torch.float64)
    target = torch.randint(bins, (images, height, width), generator=random)
    mask = torch.rand(images, height, width, generator=random) < 0.4
    return logits, target, mask


def mean(*arguments, **options):
    total, count = depth_loss(*arguments, **options)
    return total / count


@pytest.mark.parametrize("seed", range(3))
def test_foreground_equals_a_loop(seed):
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(3, 7, 2, generator=random) * 14 - 4
    boxes = torch.cat([corner, corner + torch.rand(3, 7, 2, generator=random) * 6 - 1], -1)  # some are inverted
    boxes[0, 0] = torch.tensor([2.0, 1.0, 2.0, 4.0])  # empty
    boxes[1, 0] = torch.tensor([-20.0, -20.0, 90.0, 90.0])  # everything
    boxes[2, 0] = torch.tensor([30.0, 30.0, 31.0, 31.0])  # outside
    valid = torch.rand(3, 7, generator=random) < 0.8
    found = foreground_mask(boxes, valid, (6, 9))
    assert torch.equal(found, reference.foreground(boxes, valid, 6, 9))
    boxes[~valid] = float("nan")
    assert torch.equal(foreground_mask(boxes, valid, (6, 9)), found)
    order = torch.randperm(7, generator=random)
    assert torch.equal(foreground_mask(boxes[:, order], valid[:, order], (6, 9)), found)


def test_foreground_without_boxes():
    assert not foreground_mask(torch.zeros(2, 0, 4), torch.zeros(2, 0).bool(), (3, 3)).any()


def test_wrapping_corners_equal_python_slices():
    for left, right, top, bottom in ((-3.5, 2.0, 0.0, 3.0), (-2.0, -1.0, 1.0, 9.0), (1.0, 4.0, -1.0, 8.0)):
        wanted = torch.zeros(5, 7, dtype=torch.bool)
        x, y = (left // 1, -(-right // 1)), (top // 1, -(-bottom // 1))
        wanted[int(y[0]) : int(y[1]), int(x[0]) : int(x[1])] = True
        found = foreground_mask(
            torch.tensor([[[left, top, right, bottom]]]), torch.ones(1, 1).bool(), (5, 7), wrap=True
        )
        assert torch.equal(found[0], wanted)


def test_focal_without_focus_is_cross_entropy():
    logits, target, _ = example()
    found = depth_focal(logits, target, alpha=1.0, gamma=0.0)
    torch.testing.assert_close(found, F.cross_entropy(logits, target, reduction="none"))


@pytest.mark.parametrize("weight", [1.0, 7.0])
def test_loss_equals_a_loop(weight):
    logits, target, mask = example()
    valid = torch.rand(2, 4, 6) < 0.7
    found = mean(logits, target, mask, valid, foreground_weight=weight)
    torch.testing.assert_close(found, reference.depth_loss(logits, target, mask, valid, weight))


def test_foreground_weight():
    logits, target, mask = example()
    one, two, three = (depth_loss(logits, target, mask, foreground_weight=weight)[0] for weight in (1.0, 2.0, 3.0))
    torch.testing.assert_close(one, depth_focal(logits, target).sum())
    torch.testing.assert_close(two - one, three - two)
    torch.testing.assert_close(two - one, depth_focal(logits, target)[mask].sum())


def test_smoothing_adds_all_bins():
    logits, target, _ = example()
    every = sum(depth_focal(logits, torch.full_like(target, k)) for k in range(5))
    smooth = depth_focal(logits, target, smoothing=0.01)
    torch.testing.assert_close(smooth, depth_focal(logits, target) + 0.01 * every)


def test_invalid_pixels_have_no_effect():
    logits, target, mask = example()
    valid = torch.ones(2, 4, 6, dtype=torch.bool)
    valid[0, :, 4:] = False
    wanted = mean(logits[..., :4][:1], target[:1, :, :4], mask[:1, :, :4])
    dirty = logits.clone()
    dirty[0, :, :, 4:] = float("nan")
    dirty.requires_grad_()
    target[0, :, 4:] = 99
    found = mean(dirty[:1], target[:1], mask[:1], valid[:1])
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert dirty.grad.isfinite().all()
    assert not dirty.grad[0, :, :, 4:].any()
    assert depth_loss(dirty, target, mask, torch.zeros_like(valid))[0] == 0


def test_loss_falls_with_the_logit_of_the_target():
    logits, target, mask = example(images=1, height=1, width=1)
    values = []
    for step in range(5):
        raised = logits.clone()
        raised[0, target[0, 0, 0]] += step
        values.append(mean(raised, target, mask).item())
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 5


def test_gradient():
    logits, target, mask = example(height=2, width=2)
    assert torch.autograd.gradcheck(lambda x: depth_loss(x, target, mask, smoothing=0.1)[0], logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    logits, target, mask = example()
    found = mean(logits.to(dtype), target, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), mean(logits, target, mask), rtol=2e-2, atol=1e-3)
