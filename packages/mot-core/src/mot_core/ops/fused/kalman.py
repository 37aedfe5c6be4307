"""Launch and registration of the Kalman filter kernels for independent objects."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mot_core.ops.fused.launch import blocks, flat_batches, on_device, power_of_two, precision

COORDINATES = 8  # maximum number of coordinates that a program holds
BLOCK_N = 32  # detections per block
TILE = 512  # objects x detections x coordinates per warp; more need too many registers
NAME = "mot_core::kalman_filter"
INPUTS = (
    "Tensor points, Tensor assoc, Tensor? mask, Tensor initial, Tensor process_noise, Tensor measurement_noise, "
    "Tensor initial_variance, float dt, bool first_update"
)
Four = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op(NAME, mutates_args=(), schema=f"({INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)")
def forward(
    points: Tensor,
    assoc: Tensor,
    mask: Tensor | None,
    initial: Tensor,
    process_noise: Tensor,
    measurement_noise: Tensor,
    initial_variance: Tensor,
    dt: float,
    first_update: bool,
) -> Four:
    """Return the four moments of a ``FilterResult``, all in the dtype of ``points`` (float32 or float64)."""
    from mot_core.ops.triton import kalman as kernels

    inputs = points, assoc, _bytes(mask), initial, process_noise, measurement_noise, initial_variance
    results = _moments(points, assoc, process_noise)
    grid, sizes, options = _launch(points, assoc, mask, process_noise, dt, first_update)
    with on_device(points):
        kernels.filter_forward[grid](*map(_dense, inputs), *results, *sizes, **options)
    return results


@torch.library.custom_op(
    f"{NAME}_backward",
    mutates_args=(),
    schema="(Tensor by_mean, Tensor by_cov, Tensor by_predicted_mean, Tensor by_predicted_cov, Tensor points, "
    "Tensor assoc, Tensor? mask, Tensor process_noise, Tensor measurement_noise, Tensor predicted_mean, "
    "Tensor predicted_cov, float dt, bool first_update) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def backward(
    by_mean: Tensor,
    by_cov: Tensor,
    by_predicted_mean: Tensor,
    by_predicted_cov: Tensor,
    points: Tensor,
    assoc: Tensor,
    mask: Tensor | None,
    process_noise: Tensor,
    measurement_noise: Tensor,
    predicted_mean: Tensor,
    predicted_cov: Tensor,
    dt: float,
    first_update: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of assoc, the sums of points ``(B, T, K, d)``, initial, and the three variances."""
    from mot_core.ops.triton import kalman as kernels

    gradients = by_mean, by_cov, by_predicted_mean, by_predicted_cov
    inputs = *gradients, points, assoc, _bytes(mask), measurement_noise, predicted_mean, predicted_cov
    results = _gradients(points, assoc, process_noise, measurement_noise)
    grid, sizes, options = _launch(points, assoc, mask, process_noise, dt, first_update)
    with on_device(points):
        kernels.filter_backward[grid](*map(_dense, inputs), *results, *sizes, **options)
    return results


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _bytes(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.contiguous().view(torch.uint8)


def _moments(points: Tensor, assoc: Tensor, process_noise: Tensor) -> Four:
    size = process_noise.shape[-1]
    mean, cov = (*assoc.shape[:3], size, points.shape[-1]), (*assoc.shape[:3], size, size)
    return points.new_empty(mean), points.new_empty(cov), points.new_empty(mean), points.new_empty(cov)


def _gradients(points: Tensor, assoc: Tensor, process_noise: Tensor, measurement_noise: Tensor) -> tuple[Tensor, ...]:
    batch, _, objects, _ = assoc.shape
    sums, initial = (*assoc.shape[:3], points.shape[-1]), (batch, objects, points.shape[-1])
    shapes = assoc.shape, sums, initial, process_noise.shape, measurement_noise.shape, process_noise.shape
    return tuple(points.new_empty(shape) for shape in shapes)


def _launch(
    points: Tensor, assoc: Tensor, mask: Tensor | None, process_noise: Tensor, dt: float, first_update: bool
) -> tuple[tuple[int, int], tuple[int, ...], dict[str, Any]]:
    batch, frames, objects, detections = assoc.shape
    coordinates = points.shape[-1]
    block_d, block_n = power_of_two(coordinates), min(BLOCK_N, power_of_two(detections))
    block_k = min(power_of_two(objects), max(1, TILE // (1 + (points.dtype == torch.float64)) // (block_d * block_n)))
    options = {
        "DT": dt,
        "FIRST": int(not first_update),
        "MASK": int(mask is not None),
        "MOVING": process_noise.shape[-1] - 1,
        "PRECISION": precision(points.dtype),
        "BLOCK_K": block_k,
        "BLOCK_D": block_d,
        "BLOCK_N": block_n,
        "num_warps": 1,
    }
    return (blocks(objects, block_k), batch), (frames, objects, detections, coordinates), options


@forward.register_fake
def _(points: Tensor, assoc: Tensor, mask: Tensor | None, initial: Tensor, process_noise: Tensor, *_: Any) -> Four:
    return _moments(points, assoc, process_noise)


@backward.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    points, assoc, _, process_noise, measurement_noise = arguments[4:9]
    return _gradients(points, assoc, process_noise, measurement_noise)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Four) -> None:
    points, assoc, mask, _, process_noise, measurement_noise, _, ctx.dt, ctx.first_update = inputs
    ctx.save_for_backward(points, assoc, mask, process_noise, measurement_noise, *output[2:])


def _differentiate(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    _, assoc, mask, *_ = ctx.saved_tensors
    by_assoc, by_sums, *rest = backward(*gradients, *ctx.saved_tensors, ctx.dt, ctx.first_update)
    by_points = None
    if ctx.needs_input_grad[0]:
        by_points = assoc.transpose(-1, -2) @ by_sums
        by_points = by_points if mask is None else by_points.masked_fill(~mask[..., None], 0)
    return by_points, by_assoc, None, *rest, None, None


forward.register_autograd(_differentiate, setup_context=_remember)
for _op in (forward, backward):
    _op.register_vmap(flat_batches(_op))
