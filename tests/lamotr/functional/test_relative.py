"""Relative boxes of all pairs against a loop."""

import math

import pytest
import torch

from lamotr import relative_boxes


def boxes(*shape, seed=0):
    return torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1


def test_equals_the_loop():
    objects, tracklets = boxes(2, 3), boxes(2, 2, seed=1)
    signed, scaled = relative_boxes(objects, tracklets), relative_boxes(objects, tracklets, "scaled")
    for clip in range(2):
        for i in range(3):
            for j in range(2):
                a, b = objects[clip, i].tolist(), tracklets[clip, j].tolist()
                assert signed[clip, i, j].tolist() == pytest.approx([x - y for x, y in zip(a, b, strict=True)])
                wanted = [(a[0] - b[0]) / b[2], (a[1] - b[1]) / b[3], math.log(a[2] / b[2]), math.log(a[3] / b[3])]
                assert scaled[clip, i, j].tolist() == pytest.approx(wanted)


def test_scaled_differences_do_not_depend_on_the_unit():
    objects, tracklets = boxes(3), boxes(2, seed=1)
    torch.testing.assert_close(
        relative_boxes(700 * objects, 700 * tracklets, "scaled"), relative_boxes(objects, tracklets, "scaled")
    )


@pytest.mark.parametrize("mode", ["signed", "scaled"])
def test_gradients_and_boxes_without_area(mode):
    inputs = boxes(3).requires_grad_(), boxes(2, seed=1).requires_grad_()
    torch.autograd.gradcheck(lambda a, b: relative_boxes(a, b, mode), inputs)
    flat = torch.zeros(2, 4, requires_grad=True)
    result = relative_boxes(flat, flat, mode)
    assert torch.isfinite(result).all()
    assert torch.isfinite(torch.autograd.grad(result.sum(), flat)[0]).all()


def test_unknown_mode():
    with pytest.raises(ValueError, match="mode: expected signed or scaled, got 'log'"):
        relative_boxes(boxes(1), boxes(1), "log")
