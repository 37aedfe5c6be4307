"""Launch and registration of the Rauch-Tung-Striebel smoother kernels for independent objects."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mot_core.ops.fused.launch import blocks, flat_batches, on_device, power_of_two, precision

TILE = 128  # objects x coordinates
NAME = "mot_core::rts_smoother"
INPUTS = "Tensor mean, Tensor cov, Tensor predicted_mean, Tensor predicted_cov"


@torch.library.custom_op(NAME, mutates_args=(), schema=f"({INPUTS}, float dt) -> (Tensor, Tensor)")
def forward(
    mean: Tensor, cov: Tensor, predicted_mean: Tensor, predicted_cov: Tensor, dt: float
) -> tuple[Tensor, Tensor]:
    """Return the smoothed means ``(B, T, K, S, d)`` and covariances ``(B, T, K, S, S)`` of a ``FilterResult``."""
    from mot_core.ops.triton import smoother as kernels

    inputs = [one.contiguous() for one in (mean, cov, predicted_mean, predicted_cov)]
    results = mean.new_empty(mean.shape), cov.new_empty(cov.shape)
    grid, sizes, options = _launch(mean, dt)
    with on_device(mean):
        kernels.smooth_forward[grid](*inputs, *results, *sizes, **options)
    return results


@torch.library.custom_op(
    f"{NAME}_backward",
    mutates_args=(),
    schema=f"(Tensor by_mean, Tensor by_cov, {INPUTS}, Tensor smoothed_mean, Tensor smoothed_cov, float dt) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def backward(
    by_mean: Tensor,
    by_cov: Tensor,
    mean: Tensor,
    cov: Tensor,
    predicted_mean: Tensor,
    predicted_cov: Tensor,
    smoothed_mean: Tensor,
    smoothed_cov: Tensor,
    dt: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the four moments; those of covariances are symmetric."""
    from mot_core.ops.triton import smoother as kernels

    given = by_mean, by_cov, mean, cov, predicted_mean, predicted_cov, smoothed_mean, smoothed_cov
    results = mean.new_empty(mean.shape), cov.new_empty(cov.shape), mean.new_empty(mean.shape), cov.new_empty(cov.shape)
    grid, sizes, options = _launch(mean, dt)
    with on_device(mean):
        kernels.smooth_backward[grid](*(one.contiguous() for one in given), *results, *sizes, **options)
    return results


def _launch(mean: Tensor, dt: float) -> tuple[tuple[int, int], tuple[int, ...], dict[str, Any]]:
    batch, frames, objects, size, coordinates = mean.shape
    block_d = power_of_two(coordinates)
    block_k = min(power_of_two(objects), max(1, TILE // block_d))
    options = {
        "DT": dt,
        "MOVING": size - 1,
        "PRECISION": precision(mean.dtype),
        "BLOCK_K": block_k,
        "BLOCK_D": block_d,
        "num_warps": 1,
    }
    return (blocks(objects, block_k), batch), (frames, objects, coordinates), options


@forward.register_fake
def _(mean: Tensor, cov: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return mean.new_empty(mean.shape), cov.new_empty(cov.shape)


@backward.register_fake
def _(by_mean: Tensor, by_cov: Tensor, mean: Tensor, cov: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    results = [one.new_empty(one.shape) for one in (mean, cov, mean, cov)]
    return results[0], results[1], results[2], results[3]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *moments, ctx.dt = inputs
    ctx.save_for_backward(*moments, *output)


def _differentiate(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    return *backward(*gradients, *ctx.saved_tensors, ctx.dt), None


forward.register_autograd(_differentiate, setup_context=_remember)
for _op in (forward, backward):
    _op.register_vmap(flat_batches(_op))
