"""Launch and registration of the kernels for attention with a bias per pair."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mot_core.ops.fused.launch import blocks, flat_batches, on_device, power_of_two, precision

LARGEST = 64  # maximum number of channels of a head, so that a program fits into its registers
NAME = "mot_core::pair_bias_attention"
INPUTS = "Tensor query, Tensor key, Tensor value, Tensor bias, Tensor? padding"


def fits(channels: int) -> bool:
    """Return whether the kernels support this number of channels per head.

    >>> fits(32), fits(128)
    (True, False)
    """
    return channels <= LARGEST


@torch.library.custom_op(NAME, mutates_args=(), schema=f"({INPUTS}) -> (Tensor, Tensor, Tensor)")
def forward(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, padding: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result ``(B, N, H * D)``, the weights of both directions ``(B, 2, M, K, H)`` and their logsumexp.

    See the public function for the arguments.
    """
    from mot_core.ops.triton import pair_bias_attention as kernels

    results = _results(value, bias)
    given, arguments, options = _launch(query, key, value, bias, padding)
    with on_device(value):
        kernels.forward[_grid(bias, options["BLOCK"])](*given, *results, *arguments, **options)
    return results


@torch.library.custom_op(
    f"{NAME}_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, Tensor weights_gradient, Tensor sums, {INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def backward(
    gradient: Tensor,
    weights_gradient: Tensor,
    sums: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    padding: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of query, key, value and bias."""
    from mot_core.ops.triton import pair_bias_attention as kernels

    by_query, by_key, by_value = (one.new_empty(one.shape) for one in (query, key, value))
    both = sums.new_empty(weights_gradient.shape)
    deltas = sums.new_empty(sums.shape)
    given, arguments, options = _launch(query, key, value, bias, padding)
    above = gradient.contiguous(), weights_gradient.contiguous()
    batch, tokens, heads, _ = value.shape
    block = options["BLOCK"]
    with on_device(value):
        kernels.backward_rows[_grid(bias, block)](*above, *given, sums, by_query, both, deltas, *arguments, **options)
        kernels.backward_columns[(blocks(tokens, block), heads, batch)](
            *above, *given, sums, deltas, by_key, by_value, *arguments, **options
        )
    return by_query, by_key, by_value, both.sum(1).to(bias.dtype)


def _results(value: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, tokens, heads, channels = value.shape
    dtype = torch.promote_types(value.dtype, torch.float32)
    weights = value.new_empty((batch, 2, *bias.shape[1:]), dtype=dtype)
    sums = value.new_empty((batch, tokens, heads), dtype=dtype)
    return value.new_empty(batch, tokens, heads * channels), weights, sums


def _grid(bias: Tensor, block: int) -> tuple[int, int, int]:
    batch, objects, tracklets, heads = bias.shape
    return blocks(objects, block) + blocks(tracklets, block), heads, batch


def _launch(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, padding: Tensor | None
) -> tuple[tuple[Tensor | None, ...], tuple[Any, ...], dict[str, Any]]:
    """Return the input tensors, the numbers and the options of a launch."""
    three = [query, key, value]
    # Parts of one projection have equal strides and are read in place.
    if query.stride(3) != 1 or not query.stride() == key.stride() == value.stride():
        three = [one.contiguous() for one in three]
    _, objects, tracklets, heads = bias.shape
    channels = value.shape[3]
    padded_channels = max(16, power_of_two(channels))  # minimum of a matrix product in Triton
    double = value.dtype == torch.float64
    options = {
        "CHANNELS": channels,
        "PADDED": padding is not None,
        "PRECISION": precision(value.dtype),
        # Small blocks of tokens, because one frame has few of them for the many processors of a GPU.
        "BLOCK": 8 if double else 16,
        "OTHERS": 8 if double else 32 if padded_channels <= 32 else 16,
        "BLOCK_C": padded_channels,
        "num_warps": 4,
    }
    mask = None if padding is None else padding.contiguous().view(torch.uint8)
    numbers = objects, tracklets, heads, *three[0].stride()[:3], channels**-0.5
    return (*three, bias.contiguous(), mask), numbers, options


@forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, padding: Tensor | None) -> Any:
    return _results(value, bias)


@backward.register_fake
def _(gradient: Tensor, weights_gradient: Tensor, sums: Tensor, *inputs: Tensor | None) -> Any:
    return tuple(one.new_empty(one.shape) for one in inputs[:4] if one is not None)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    sums = output[2]
    ctx.mark_non_differentiable(sums)
    ctx.save_for_backward(sums, *inputs)


def _differentiate(ctx: Any, gradient: Tensor, weights_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *backward(gradient, weights_gradient, *ctx.saved_tensors), None


forward.register_autograd(_differentiate, setup_context=_remember)
for _op in (forward, backward):
    _op.register_vmap(flat_batches(_op))
