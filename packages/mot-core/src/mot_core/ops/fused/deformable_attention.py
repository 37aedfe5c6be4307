"""Launch and registration of the deformable attention kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mot_core.ops.fused.launch import blocks, flat_batches, on_device, power_of_two, precision

LARGEST = 8192  # limit of samples x channels of one query, so that a program fits into its registers
FORWARD_TILE, BACKWARD_TILE = 2048, 1024  # number of values that a program holds per corner
NAME = "mot_core::deformable_attention"


def fits(channels: int, samples: int) -> bool:
    """Return whether the kernels support this number of channels per head and of samples on all levels.

    >>> fits(32, 16), fits(1024, 16)
    (True, False)
    """
    return power_of_two(channels) * power_of_two(samples) <= LARGEST


@torch.library.custom_op(
    NAME,
    mutates_args=(),
    schema="(Tensor value, SymInt[] shapes, Tensor locations, Tensor weights, bool softmax) -> Tensor",
)
def forward(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor, softmax: bool) -> Tensor:
    """Return ``(B, Q, H * D)``. ``shapes`` is a flat list of (height, width); see the public function for the rest."""
    from mot_core.ops.triton import deformable_attention as kernels

    batch, _, heads, channels = value.shape
    result = value.new_empty(batch, weights.shape[1], heads * channels)
    grid, arguments, options = _launch(value, shapes, weights, softmax, FORWARD_TILE)
    with on_device(value):
        kernels.forward[grid](
            value.contiguous(), locations.contiguous(), weights.contiguous(), result, *arguments, **options
        )
    return result


@torch.library.custom_op(
    f"{NAME}_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor value, SymInt[] shapes, Tensor locations, Tensor weights, bool softmax) "
    "-> (Tensor, Tensor, Tensor)",
)
def backward(
    gradient: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor, softmax: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of value, locations and weights."""
    from mot_core.ops.triton import deformable_attention as kernels

    # Many samples are added to one cell, which would lose precision in half precision.
    value_gradient = value.new_zeros(value.shape, dtype=torch.promote_types(value.dtype, torch.float32))
    locations_gradient, weights_gradient = locations.new_empty(locations.shape), weights.new_empty(weights.shape)
    grid, arguments, options = _launch(value, shapes, weights, softmax, BACKWARD_TILE)
    inputs = (tensor.contiguous() for tensor in (value, locations, weights, gradient))
    with on_device(value):
        kernels.backward[grid](*inputs, value_gradient, locations_gradient, weights_gradient, *arguments, **options)
    return value_gradient.to(value.dtype), locations_gradient, weights_gradient


def _launch(
    value: Tensor, shapes: Sequence[int], weights: Tensor, softmax: bool, tile: int
) -> tuple[tuple[int, int, int], tuple[Any, ...], dict[str, Any]]:
    batch, cells, heads, channels = value.shape
    queries, levels, points = weights.shape[1], weights.shape[3], weights.shape[4]
    samples, padded_channels = power_of_two(levels * points), power_of_two(channels)
    block = max(1, min(tile // (samples * padded_channels), power_of_two(queries)))
    options = {
        "CHANNELS": channels,
        "LEVELS": levels,
        "POINTS": points,
        "SOFTMAX": softmax,
        "PRECISION": precision(value.dtype),
        "BLOCK_Q": block,
        "SAMPLES": samples,
        "BLOCK_C": padded_channels,
    }
    return (blocks(queries, block), heads, batch), (tuple(map(float, shapes)), queries, heads, cells), options


@forward.register_fake
def _(value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor, softmax: bool) -> Tensor:
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, weights.shape[1], heads * channels)


@backward.register_fake
def _(
    gradient: Tensor, value: Tensor, shapes: Sequence[int], locations: Tensor, weights: Tensor, softmax: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return value.new_empty(value.shape), locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, shapes, locations, weights, softmax = inputs
    ctx.save_for_backward(value, locations, weights)
    ctx.shapes, ctx.softmax = shapes, softmax


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    by_value, by_locations, by_weights = backward(gradient, value, ctx.shapes, locations, weights, ctx.softmax)
    return by_value, None, by_locations, by_weights, None


forward.register_autograd(_differentiate, setup_context=_remember)
for _op in (forward, backward):
    _op.register_vmap(flat_batches(_op))
