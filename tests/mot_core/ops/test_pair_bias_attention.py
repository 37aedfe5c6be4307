"""The reference of pair_bias_attention against a loop in float64, its padding and its gradients."""

import pytest
import torch

from _helpers.lamotr_reference import attention
from mot_core.ops import pair_bias_attention

F64 = torch.float64


def make(objects=3, tracklets=2, batch=2, heads=2, channels=3, dtype=F64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = objects + tracklets
    shapes = [(batch, tokens, heads, channels)] * 3 + [(batch, objects, tracklets, heads)]
    return [torch.randn(*shape, generator=generator, dtype=F64).to(dtype) for shape in shapes]


@pytest.mark.parametrize("sizes", [(3, 2), (1, 1), (5, 0), (0, 4), (4, 7)])
@pytest.mark.parametrize("padded", [False, True])
def test_equals_the_loop(sizes, padded):
    inputs = make(*sizes)
    padding = torch.rand(2, sum(sizes), generator=torch.Generator().manual_seed(1)) < 0.4 if padded else None
    found = pair_bias_attention(*inputs, padding)
    for index in range(2):
        wanted = attention(*(one[index] for one in inputs), None if padding is None else padding[index])
        for one, other in zip(found, wanted[:3], strict=True):
            torch.testing.assert_close(one[index], other)


def test_rows_sum_to_one_and_the_bias_fills_two_blocks():
    query, key, _, bias = make(batch=1, channels=5)
    padding = torch.tensor([[False, True, False, False, True]])
    unit = torch.eye(5, dtype=F64)[None, :, None].expand(1, 5, 2, 5)  # the result shows the weights of all tokens
    shown = pair_bias_attention(query, key, unit, bias, padding)[0].unflatten(2, (2, 5))
    torch.testing.assert_close(shown.sum(-1)[0], torch.tensor([[1.0, 0, 1, 1, 0]] * 2, dtype=F64).T)
    assert not shown[..., padding[0]].any()
    # Within a group, ratios of weights are those without bias.
    free = pair_bias_attention(query, key, unit, torch.zeros_like(bias))[0].unflatten(2, (2, 5))
    biased = pair_bias_attention(query, key, unit, bias)[0].unflatten(2, (2, 5))
    for group in (slice(0, 3), slice(3, 5)):
        own, same = biased[:, group, :, group], free[:, group, :, group]
        torch.testing.assert_close(own / own.sum(-1, keepdim=True), same / same.sum(-1, keepdim=True))
    # Uniform logits, so that each weight shows its bias.
    zero = torch.zeros_like(query)
    _, forth, back = pair_bias_attention(zero, zero, zero, bias)
    bias = bias.exp()
    torch.testing.assert_close(forth, bias / (3 + bias.sum(2, keepdim=True)))
    torch.testing.assert_close(back, bias / (2 + bias.sum(1, keepdim=True)))


def test_padding_changes_nothing_even_with_nan():
    inputs = make()
    wanted = pair_bias_attention(*inputs)
    # Three objects and a padded one, then two tracklets and two padded ones.
    padding = torch.tensor([False] * 3 + [True] + [False] * 2 + [True] * 2).expand(2, -1)
    longer = []
    for one in inputs[:3]:
        filled = torch.full((2, 8, 2, 3), torch.nan, dtype=F64)
        filled[:, ~padding[0]] = one
        longer.append(filled.requires_grad_())
    bias = torch.full((2, 4, 4, 2), torch.nan, dtype=F64)
    bias[:, :3, :2] = inputs[3]
    longer.append(bias.requires_grad_())
    found = pair_bias_attention(*longer, padding)
    torch.testing.assert_close(found[0][:, ~padding[0]], wanted[0])
    assert not found[0][:, padding[0]].any()
    for one, other in zip(found[1:], wanted[1:], strict=True):
        torch.testing.assert_close(one[:, :3, :2], other)
        assert not one[:, 3:].any()
        assert not one[:, :, 2:].any()
    gradients = torch.autograd.grad(sum(one.square().sum() for one in found), longer)
    assert all(one.isfinite().all() for one in gradients)


def test_all_padded_gives_zeros():
    inputs = [one.requires_grad_() for one in make()]
    padding = torch.tensor([[True] * 5, [False] * 5])
    found = pair_bias_attention(*inputs, padding)
    assert not any(one[0].any() for one in found)
    gradients = torch.autograd.grad(sum(one.sum() for one in found), inputs)
    assert all(one.isfinite().all() for one in gradients)


@pytest.mark.parametrize("padded", [False, True])
def test_gradients(padded):
    inputs = [one.requires_grad_() for one in make()]
    padding = torch.tensor([[False, True, False, False, False], [False] * 4 + [True]]) if padded else None
    torch.autograd.gradcheck(lambda *given: pair_bias_attention(*given, padding), inputs)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
def test_half_precision_is_computed_in_float32(dtype, tolerance):
    inputs = make(dtype=dtype)
    found, wanted = pair_bias_attention(*inputs), pair_bias_attention(*(one.double() for one in inputs))
    assert [one.dtype for one in found] == [dtype, torch.float32, torch.float32]
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found[1].double(), wanted[1], rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        again = pair_bias_attention(*(one.float() for one in inputs))
    torch.testing.assert_close(again[0].double(), wanted[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: torch.zeros(2, 4, 2, 3)}, "one shape"),
        ({3: torch.zeros(2, 3, 3, 2)}, "M \\+ K = 5"),
        ({3: torch.zeros(2, 3, 2, 1)}, "bias must have shape"),
        ({4: torch.zeros(2, 4).bool()}, "padding must be a bool"),
        ({4: torch.zeros(2, 5)}, "padding must be a bool"),
    ],
)
def test_bad_shapes(change, message):
    given = dict(enumerate([*make(), None])) | change
    with pytest.raises(ValueError, match=message):
        pair_bias_attention(*given.values())
