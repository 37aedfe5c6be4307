"""Cases of the kernel benchmark: shapes of trackers in practice, and the bytes they must move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mot_core.boxes import pairwise_giou, pairwise_iou
from mot_core.ops import deformable_attention, kalman_filter, pair_bias_attention, rts_smoother, sinkhorn

LEVELS = [(100, 180), (50, 90), (25, 45), (13, 23)]  # for an image of 800 x 1440
CELLS = sum(height * width for height, width in LEVELS)


@dataclass(frozen=True)
class Case:
    """One operation at one size.

    Attributes:
        name: Name of the case in the table.
        call: Public function of the tensors that need a gradient.
        inputs: Function that creates these tensors on a device.
        target: Targeted speedup of forward plus backward over eager PyTorch.
        bytes_read: Minimum number of bytes that the forward pass must read. None means all of the inputs.
    """

    name: str
    call: Callable[..., Tensor]
    inputs: Callable[[str], list[Tensor]]
    target: float
    bytes_read: int | None = None


def _attention(queries: int, dtype: torch.dtype) -> Case:
    def inputs(device: str) -> list[Tensor]:
        value = torch.randn(1, CELLS, 8, 32, device=device, dtype=dtype)
        # Near a reference point, like trained offsets: within a few cells on every level.
        points = torch.rand(1, queries, 1, 1, 1, 2, device=device)
        cells = torch.tensor([(width, height) for height, width in LEVELS], device=device)
        locations = points + 3 * torch.randn(1, queries, 8, 4, 4, 2, device=device) / cells[:, None]
        return [value, locations, torch.randn(1, queries, 8, 4, 4, device=device, dtype=dtype)]

    def call(value: Tensor, locations: Tensor, logits: Tensor) -> Tensor:
        return deformable_attention(value, LEVELS, locations, logits, softmax=True)

    size = dtype.itemsize
    samples = queries * 8 * 16
    value_bytes = min(CELLS * 256, samples * 4 * 32) * size  # few queries do not read every cell
    name = f"deformable attention, {queries:,} queries, {str(dtype)[6:]}"
    return Case(name, call, inputs, 5.0, value_bytes + samples * (8 + size))


def _pair_bias(objects: int, tracklets: int) -> Case:
    def inputs(device: str) -> list[Tensor]:
        joint = torch.randn(1, objects + tracklets, 3, 8, 32, device=device)
        return [joint, torch.randn(1, objects, tracklets, 8, device=device)]

    def call(joint: Tensor, bias: Tensor) -> Tensor:
        query, key, value = joint.unbind(2)
        result, forth, back = pair_bias_attention(query, key, value, bias)
        return torch.cat([result.flatten(), forth.flatten(), back.flatten()])

    return Case(f"pair_bias_attention, {objects} objects x {tracklets} tracklets", call, inputs, 3.0)


def _sinkhorn(with_dustbin: bool) -> Case:
    def inputs(device: str) -> list[Tensor]:
        return [3 * torch.randn(32, 100, 100, device=device)]

    def call(logits: Tensor) -> Tensor:
        dustbin = logits.new_zeros(()) if with_dustbin else None
        return sinkhorn(logits, num_iters=20, dustbin=dustbin)

    return Case(f"sinkhorn, 32 x 100 x 100 x 20{', dustbin' * with_dustbin}", call, inputs, 10.0)


def _kalman(smooth: bool) -> Case:
    def inputs(device: str) -> list[Tensor]:
        points = torch.randn(1024, 10, 32, 2, device=device)
        assoc = torch.randn(1024, 10, 32, 32, device=device).softmax(-1)
        ones = torch.ones(1024, 32, 2, device=device)
        return [points, assoc, points[:, 0].clone(), 0.1 * ones, ones[..., 0].clone(), ones]

    def call(
        points: Tensor, assoc: Tensor, initial: Tensor, process: Tensor, noise: Tensor, variance: Tensor
    ) -> Tensor:
        result = kalman_filter(
            points, assoc, initial, process_noise=process, measurement_noise=noise, initial_variance=variance
        )
        mean, cov = result.predicted_mean, result.predicted_cov
        if smooth:
            smoothed = rts_smoother(result)
            mean, cov = smoothed.mean, smoothed.cov
        return torch.cat([mean.flatten(2), cov.flatten(2)], 2)

    name = f"kalman_filter{' and rts_smoother' * smooth}, 1,024 windows x 32 objects x 10 frames"
    return Case(name, call, inputs, 10.0)


def _overlap(call: Callable[[Tensor, Tensor], Tensor], batch: int, n: int, m: int) -> Case:
    def inputs(device: str) -> list[Tensor]:
        corners = [torch.rand(batch, count, 2, device=device) for count in (n, m)]
        return [torch.cat([corner, corner + 0.02 + 0.2 * torch.rand_like(corner)], -1) for corner in corners]

    return Case(f"{call.__name__}, {batch} x {n:,} x {m:,}", call, inputs, 5.0)


CASES = [
    *(_attention(queries, dtype) for dtype in (torch.float32, torch.bfloat16) for queries in (360, CELLS)),
    _pair_bias(300, 20),
    _pair_bias(300, 100),
    _sinkhorn(False),
    _sinkhorn(True),
    _kalman(False),
    _kalman(True),
    _overlap(pairwise_giou, 8, 300, 60),
    _overlap(pairwise_iou, 1, 2048, 2048),
]
