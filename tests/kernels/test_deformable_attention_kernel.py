"""The deformable attention kernels against the reference in float64: values and every gradient."""

import pytest
import torch

from _helpers.kernels.comparison import assert_close, with_gradients
from mot_core.ops import deformable_attention
from mot_core.ops.deformable_attention import reference
from mot_core.ops.fused import deformable_attention as fused

F64 = torch.float64
# Batch, queries, heads, channels, levels, points.
CASES = {
    "usual": (2, 5, 2, 4, [(6, 5), (3, 3)], 2),
    "one-query": (1, 1, 1, 1, [(4, 3)], 1),
    "one-cell-levels": (1, 3, 2, 3, [(1, 1), (1, 4), (3, 1)], 2),
    "weird": (1, 7, 3, 5, [(2, 9), (7, 1), (1, 2), (5, 5)], 3),
    "several-blocks": (1, 37, 1, 16, [(5, 7)], 4),
}


def make(batch, queries, heads, channels, shapes, points, dtype=F64, spread=1.6, device="cpu"):
    """Random inputs; with a spread above 1 some points lie outside the map on every side."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*size):
        return torch.rand(*size, generator=generator, dtype=F64)

    value = uniform(batch, sum(h * w for h, w in shapes), heads, channels) - 0.5
    locations = (uniform(batch, queries, heads, len(shapes), points, 2) - 0.5) * spread + 0.5
    weights = 3 * uniform(batch, queries, heads, len(shapes), points)
    return [tensor.to(device, dtype) for tensor in (value, locations, weights)]


def call(function, shapes, softmax=False):
    return lambda value, locations, weights: function(value, shapes, locations, weights, softmax=softmax)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name, softmax, device):
    shapes = CASES[name][4]
    inputs = make(*CASES[name], device=device)
    found = with_gradients(call(deformable_attention, shapes, softmax), inputs)
    assert_close(found, with_gradients(call(reference, shapes, softmax), inputs), 1e-12)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 3e-3), (torch.bfloat16, 2e-2)])
def test_precisions(dtype, tolerance, softmax, device):
    shapes = CASES["usual"][4]
    inputs = make(*CASES["usual"], dtype=dtype, device=device)
    found = with_gradients(call(deformable_attention, shapes, softmax), inputs)
    # Compared with the rounded inputs, so that only the arithmetic is tested.
    wanted = with_gradients(call(reference, shapes, softmax), [one.double() for one in inputs])
    assert_close(found, wanted, tolerance)


def test_half_values_at_precise_locations(device):
    shapes = CASES["usual"][4]
    value, locations, weights = make(*CASES["usual"], dtype=torch.float32, device=device)
    inputs = [value.half(), locations, weights]
    found = with_gradients(call(deformable_attention, shapes, softmax=True), inputs)
    wanted = with_gradients(call(reference, shapes, softmax=True), [one.double() for one in inputs])
    assert_close(found, wanted, 1e-3)
    assert_close(found[2:], wanted[2:], 1e-5)  # float32 gradients have float32 precision


def test_half_gradients_are_summed_in_float32(device):
    """4,000 queries sample one cell: in float16 the sum of their gradients would stop at 2,048."""
    queries = 4000
    locations = torch.full((1, queries, 1, 1, 1, 2), 0.5, device=device)
    value = torch.ones(1, 1, 1, 1, dtype=torch.float16, device=device, requires_grad=True)
    ones = torch.ones(1, queries, 1, 1, 1, device=device)
    deformable_attention(value, [(1, 1)], locations, ones).backward(ones.view(1, queries, 1).half())
    assert value.grad.item() == queries


def test_points_far_outside_give_zero(device):
    shapes = CASES["usual"][4]
    for distance in (3.0, 1e9, 1e30):
        value, locations, weights = make(*CASES["usual"], device=device)
        found = with_gradients(call(deformable_attention, shapes), [value, locations + distance, weights])
        assert not any(tensor.any() for tensor in found)


def test_padded_queries_are_zero(device):
    shapes = CASES["usual"][4]
    value, locations, weights = make(*CASES["usual"], device=device)
    expected = deformable_attention(value, shapes, locations, weights)[:, :3]
    weights[:, 3:] = 0
    result = deformable_attention(value, shapes, locations, weights)
    torch.testing.assert_close(result[:, :3], expected)
    assert torch.equal(result[:, 3:], torch.zeros_like(result[:, 3:]))


def test_arbitrary_memory_layouts(device):
    shapes = CASES["usual"][4]
    inputs = make(*CASES["usual"], device=device)
    strided = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in inputs]
    assert not any(tensor.is_contiguous() for tensor in strided)
    function = call(deformable_attention, shapes)
    assert_close(with_gradients(function, strided), with_gradients(call(reference, shapes), inputs), 1e-12)


@pytest.mark.parametrize(("batch", "queries", "points"), [(0, 3, 2), (2, 0, 2), (2, 3, 0), (0, 0, 0)])
def test_empty_inputs_give_empty_outputs(batch, queries, points, device):
    value, locations, weights = make(batch, queries, 3, 4, [(2, 3)], points, device=device)
    result = deformable_attention(value.requires_grad_(), [(2, 3)], locations, weights, softmax=True)
    assert result.shape == (batch, queries, 12)
    assert not result.any()
    result.sum().backward()
    assert torch.equal(value.grad, torch.zeros_like(value))


def test_oversized_inputs_fall_back_to_reference(device):
    shape = (1, 1, 1, 1024, [(2, 2)], 16)
    assert not fused.fits(1024, 16)
    inputs = make(*shape, device=device)
    wanted = reference(inputs[0], shape[4], *inputs[1:])
    assert torch.equal(deformable_attention(inputs[0], shape[4], *inputs[1:]), wanted)


@pytest.mark.parametrize("softmax", [False, True])
def test_operator_registration(softmax, device):
    value, locations, weights = make(1, 2, 1, 2, [(2, 3), (2, 1)], 1, device=device)
    leaves = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    torch.library.opcheck(fused.forward, (leaves[0], [2, 3, 2, 1], *leaves[1:], softmax))
    gradient = torch.rand(1, 2, 2, dtype=F64, device=device)
    given = [tensor.detach() for tensor in leaves]
    torch.library.opcheck(fused.backward, (gradient, given[0], [2, 3, 2, 1], *given[1:], softmax))


def test_compiles_without_breaks(device):
    shapes = CASES["one-cell-levels"][4]
    inputs = make(*CASES["one-cell-levels"], dtype=torch.float32, device=device)
    compiled = torch.compile(call(deformable_attention, shapes, True), fullgraph=True, backend="aot_eager")
    wanted = with_gradients(call(deformable_attention, shapes, True), inputs)
    assert_close(with_gradients(compiled, inputs), wanted, 1e-6)


def test_vmap(device):
    shapes = [(2, 3)]
    inputs = [torch.stack([one, one.flip(1)]) for one in make(1, 2, 1, 2, shapes, 2, device=device)]
    function = call(deformable_attention, shapes)
    wanted = torch.stack([function(*(one[number] for one in inputs)) for number in range(2)])
    torch.testing.assert_close(torch.vmap(function)(*inputs), wanted)


def test_deterministic_algorithms_fall_back_to_reference(device, monkeypatch):
    monkeypatch.setattr(fused, "forward", None)
    inputs = make(*CASES["one-query"], device=device)
    torch.use_deterministic_algorithms(True)
    try:
        deformable_attention(inputs[0], CASES["one-query"][4], *inputs[1:])
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="sizes for a GPU")
@pytest.mark.parametrize("queries", [360, 23924])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.bfloat16, 2e-2)])
def test_paper_sizes(queries, dtype, tolerance):
    shapes = [(100, 180), (50, 90), (25, 45), (13, 23)]
    value, locations, weights = make(1, queries, 8, 32, shapes, 4, dtype=torch.float32, device="cuda")
    inputs = [value.to(dtype), locations, weights]
    found = with_gradients(call(deformable_attention, shapes, softmax=True), inputs)
    wanted = with_gradients(call(reference, shapes, softmax=True), [one.double() for one in inputs])
    # A point that rounding moves across a cell border has another gradient there, so only norms are compared.
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()
