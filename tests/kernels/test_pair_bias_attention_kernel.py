"""The kernels of pair_bias_attention against the reference in float64: values and every gradient."""

import pytest
import torch

from _helpers.kernels.comparison import assert_close, with_gradients
from mot_core.ops import pair_bias_attention
from mot_core.ops.fused import pair_bias_attention as fused
from mot_core.ops.pair_bias_attention import reference

F64 = torch.float64


def make(batch, objects, tracklets, heads, channels, dtype=F64, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    tokens = objects + tracklets
    shapes = [(batch, tokens, heads, channels)] * 3 + [(batch, objects, tracklets, heads)]
    return [torch.randn(*shape, generator=generator, dtype=F64).to(device, dtype) for shape in shapes]


def random_padding(batch, tokens, device="cpu"):
    return (torch.rand(batch, tokens, generator=torch.Generator().manual_seed(1)) < 0.3).to(device)


def both(inputs, padding=None):
    """Values and gradients of the kernel, and those of the reference in float64."""
    found = with_gradients(lambda *given: pair_bias_attention(*given, padding), inputs)
    wanted = with_gradients(lambda *given: reference(*given, padding), [one.double() for one in inputs])
    return found, wanted


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (2, 5, 3, 2, 4), (1, 4, 0, 2, 3), (1, 0, 4, 2, 3), (1, 37, 2, 1, 5), (1, 2, 37, 1, 16)]
)
def test_equals_the_reference(shape, padded, device):
    inputs = make(*shape, device=device)
    padding = random_padding(shape[0], shape[1] + shape[2], device) if padded else None
    assert_close(*both(inputs, padding), 1e-11)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
def test_precisions(dtype, tolerance, device):
    found, wanted = both(make(2, 6, 4, 2, 8, dtype=dtype, device=device))
    assert_close(found, wanted, tolerance)
    assert_close(found[1:3], wanted[1:3], 1e-5)  # the weights are not rounded to half precision


def test_parts_of_one_projection_are_read_in_place(device):
    joint = torch.randn(2, 9, 3, 2, 8, dtype=F64, generator=torch.Generator().manual_seed(2)).to(device)
    bias = make(2, 5, 4, 2, 8, device=device)[3]
    given, _, _ = fused._launch(*joint.unbind(2), bias, None)
    assert [one.data_ptr() for one in given[:3]] == [one.data_ptr() for one in joint.unbind(2)]
    found = with_gradients(lambda x, b: pair_bias_attention(*x.unbind(2), b), [joint, bias])
    wanted = with_gradients(lambda x, b: reference(*x.unbind(2), b), [joint, bias])
    assert_close(found, wanted, 1e-11)
    # Any other strides.
    inputs = [one.transpose(1, 3).contiguous().transpose(1, 3) for one in make(2, 5, 4, 2, 8, device=device)]
    assert_close(*both(inputs), 1e-11)


def test_padding_changes_nothing_even_with_nan(device):
    inputs = make(1, 3, 2, 2, 4, device=device)
    padding = torch.tensor([[False] * 3 + [True] + [False] * 2 + [True]], device=device)
    longer = []
    for one in inputs[:3]:
        filled = torch.full((1, 7, 2, 4), torch.nan, dtype=F64, device=device)
        filled[:, ~padding[0]] = one
        longer.append(filled)
    bias = torch.full((1, 4, 3, 2), torch.nan, dtype=F64, device=device)
    bias[:, :3, :2] = inputs[3]
    found = with_gradients(lambda *given: pair_bias_attention(*given, padding), [*longer, bias])
    wanted = with_gradients(lambda *given: reference(*given, padding), [*longer, bias])
    assert_close(found, wanted, 1e-11)


def test_all_padded(device):
    inputs = make(2, 3, 2, 2, 4, dtype=torch.float32, device=device)
    padding = torch.tensor([[True] * 5, [False] * 5], device=device)
    found, wanted = both(inputs, padding)
    assert_close(found, wanted, 1e-5)
    assert not any(one[0].any() for one in found)


def test_large_logits_stay_finite(device):
    inputs = [30 * one for one in make(1, 6, 4, 1, 8, dtype=torch.float32, device=device)]
    found, wanted = both(inputs)
    assert_close(found[:3], wanted[:3], 1e-3)
    assert all(one.isfinite().all() for one in found)


def test_unsupported_cases_fall_back_to_reference(device, monkeypatch):
    monkeypatch.setattr(fused, "forward", None)
    pair_bias_attention(*make(1, 2, 2, 1, 65, device=device))
    assert pair_bias_attention(*make(1, 0, 0, 1, 4, device=device))[0].shape == (1, 0, 4)
    with pytest.raises(TypeError):
        pair_bias_attention(*make(1, 2, 2, 1, 4, device=device))


@pytest.mark.parametrize("padded", [False, True])
def test_operator_registration(padded, device):
    inputs = make(2, 3, 2, 2, 4, device=device)
    padding = random_padding(2, 5, device) if padded else None
    result, weights, sums = fused.forward(*inputs, padding)
    torch.library.opcheck(fused.backward, (result, weights, sums, *inputs, padding))
    torch.library.opcheck(fused.forward, (*(one.requires_grad_() for one in inputs), padding))


def test_compiles_without_breaks(device):
    inputs, padding = make(2, 3, 2, 2, 4, dtype=torch.float32, device=device), random_padding(2, 5, device)

    def attend(*given):
        return pair_bias_attention(*given, padding)

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    assert_close(with_gradients(compiled, inputs), with_gradients(attend, inputs), 1e-6)


def test_vmap(device):
    inputs, padding = make(6, 3, 2, 2, 4, device=device), random_padding(6, 5, device)
    nested = [one.unflatten(0, (3, 2)) for one in (*inputs, padding)]
    found = torch.vmap(pair_bias_attention)(*nested)
    for one, other in zip(found, pair_bias_attention(*inputs, padding), strict=True):
        torch.testing.assert_close(one.flatten(0, 1), other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="sizes for a GPU")
@pytest.mark.parametrize("tracklets", [1, 20, 100])
def test_crowd_sizes(tracklets):
    inputs = make(2, 300, tracklets, 8, 32, dtype=torch.float32, device="cuda")
    assert_close(*both(inputs, random_padding(2, 300 + tracklets, "cuda")), 2e-4)
