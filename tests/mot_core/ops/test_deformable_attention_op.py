"""Deformable attention equals a loop over queries, heads, levels, points and corners."""

import pytest
import torch

from _helpers.deformable_attention_loop import loop, make
from mot_core.ops import deformable_attention

SHAPES = {
    "usual": (2, 5, 3, 4, [(6, 5), (3, 3)], 2),
    "one-query": (1, 1, 1, 1, [(4, 3)], 1),
    "one-cell-levels": (2, 3, 2, 3, [(1, 1), (1, 4), (3, 1)], 2),
    "weird": (3, 7, 5, 1, [(2, 9), (7, 1), (1, 2), (5, 5)], 3),
}


@pytest.mark.parametrize("name", SHAPES)
def test_equals_a_loop(name):
    inputs = make(*SHAPES[name])
    torch.testing.assert_close(deformable_attention(*inputs), loop(*inputs), rtol=1e-12, atol=1e-12)


def test_points_outside_the_map_give_zero():
    value, shapes, locations, weights = make(*SHAPES["usual"])
    assert torch.equal(deformable_attention(value, shapes, locations + 3, weights), torch.zeros(2, 5, 12).double())
    # The last cell contributes up to half a cell beyond the border.
    for x, expected in ((1.25, 0.0), (1.0, 0.5), (0.75, 1.0)):
        at = torch.tensor([x, 0.25]).reshape(1, 1, 1, 1, 1, 2)
        assert deformable_attention(torch.ones(1, 4, 1, 1), [(2, 2)], at, torch.ones(1, 1, 1, 1, 1)).item() == expected


def test_queries_are_independent():
    value, shapes, locations, weights = make(*SHAPES["weird"])
    alone = [deformable_attention(value, shapes, locations[:, q : q + 1], weights[:, q : q + 1]) for q in range(7)]
    torch.testing.assert_close(torch.cat(alone, 1), deformable_attention(value, shapes, locations, weights))


def test_padded_queries_are_zero():
    value, shapes, locations, weights = make(*SHAPES["usual"])
    expected = deformable_attention(value, shapes, locations, weights)[:, :3]
    weights[:, 3:] = 0
    result = deformable_attention(value, shapes, locations, weights)
    assert torch.equal(result[:, :3], expected)
    assert torch.equal(result[:, 3:], torch.zeros_like(result[:, 3:]))


def test_softmax_normalizes_over_levels_and_points():
    value, shapes, locations, logits = make(*SHAPES["weird"])
    weights = logits.exp() / logits.exp().sum((3, 4), keepdim=True)
    found = deformable_attention(value, shapes, locations, logits, softmax=True)
    torch.testing.assert_close(found, loop(value, shapes, locations, weights), rtol=1e-12, atol=1e-12)


def test_gradients():
    value, shapes, locations, weights = make(2, 2, 2, 2, [(3, 2), (1, 2)], 2)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    assert torch.autograd.gradcheck(lambda v, s, w: deformable_attention(v, shapes, s, w), inputs)


@pytest.mark.parametrize("name", ["usual", "weird"])
def test_gradients_equal_those_of_the_loop(name):
    value, shapes, locations, weights = make(*SHAPES[name])
    factor = torch.rand_like(deformable_attention(value, shapes, locations, weights))
    gradients = []
    for function in (deformable_attention, loop):
        inputs = [tensor.clone().requires_grad_() for tensor in (value, weights)]
        (function(inputs[0], shapes, locations, inputs[1]) * factor).sum().backward()
        gradients.append([tensor.grad for tensor in inputs])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)]
)
def test_precisions(dtype, tolerance):
    value, shapes, locations, weights = make(*SHAPES["usual"], dtype=dtype)
    value.requires_grad_()
    result = deformable_attention(value, shapes, locations, weights)
    assert result.dtype == dtype
    # Compared with the rounded inputs, so that only the arithmetic is tested.
    expected = loop(value.detach().double(), shapes, locations.double(), weights.double())
    torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=tolerance)
    result.sum().backward()
    assert value.grad.dtype == dtype


def test_half_values_at_precise_locations():
    value, shapes, locations, weights = make(*SHAPES["usual"])
    result = deformable_attention(value.half(), shapes, locations.float(), weights.float())
    expected = loop(value.half().double(), shapes, locations, weights)
    torch.testing.assert_close(result.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("batch", "queries", "points"), [(0, 3, 2), (2, 0, 2), (2, 3, 0), (0, 0, 0)])
def test_empty_inputs_give_empty_outputs(batch, queries, points):
    value, shapes, locations, weights = make(batch, queries, 3, 4, [(2, 3)], points)
    value.requires_grad_()
    result = deformable_attention(value, shapes, locations, weights)
    assert result.shape == (batch, queries, 12)
    assert not result.any()
    result.sum().backward()
    assert torch.equal(value.grad, torch.zeros_like(value))


def test_no_levels_gives_zeros():
    value, shapes, locations, weights = make(2, 3, 2, 4, [], 2)
    assert torch.equal(deformable_attention(value, shapes, locations, weights), torch.zeros(2, 3, 8).double())


def test_compiles_without_breaks():
    value, shapes, locations, weights = make(*SHAPES["usual"], dtype=torch.float32)
    value.requires_grad_()
    compiled = torch.compile(deformable_attention, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (compiled, deformable_attention):
        result = function(value, shapes, locations, weights)
        gradients.append((result.detach(), *torch.autograd.grad(result.square().sum(), value)))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_invalid_arguments_are_rejected():
    value, shapes, locations, weights = make(*SHAPES["usual"])
    with pytest.raises(ValueError, match=r"value must have shape \(B, S, H, D\), got \(2, 39, 12\)"):
        deformable_attention(value.flatten(2), shapes, locations, weights)
    with pytest.raises(ValueError, match=r"have 38 cells, but value has 39 rows"):
        deformable_attention(value, [(6, 5), (4, 2)], locations, weights)
    with pytest.raises(ValueError, match=r"attention_weights .* B, H, L = \(2, 3, 2\), got \(2, 5, 3, 1, 2\)"):
        deformable_attention(value, shapes, locations, weights[:, :, :, :1])
    with pytest.raises(ValueError, match=r"sampling_locations .* \(2, 5, 3, 2, 2, 2\), got \(2, 4, 3, 2, 2, 2\)"):
        deformable_attention(value, shapes, locations[:, :4], weights)
    with pytest.raises(TypeError, match=r"got a tensor; use \.tolist\(\)"):
        deformable_attention(value, torch.tensor(shapes), locations, weights)
