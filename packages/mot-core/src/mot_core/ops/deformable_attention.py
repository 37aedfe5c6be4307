"""Multi-scale deformable attention: weighted bilinear samples of a few points on every level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.ops.choice import use_kernels
from mot_core.ops.fused import deformable_attention as fused


def deformable_attention(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    softmax: bool = False,
) -> Tensor:
    """Sums weighted bilinear samples of a feature pyramid, per query and head.

    ``result[q, h] = sum over l, p of attention_weights[q, h, l, p] * value[l, h](sampling_locations[q, h, l, p])``: a
    map is zero outside its borders; (0, 0) is its top left corner and (1, 1) its bottom right corner, so the centre of
    its first cell is (0.5 / width, 0.5 / height). Deformable DETR (Zhu et al. 2021), eq. 3, without the projections.

    Half precision is computed in float32 and returned in the dtype of ``value``.

    Args:
        value: ``(B, S, H, D)``, the maps of all levels, each in row-major order, one after the other; ``H`` heads.
        spatial_shapes: (height, width) of every level in cells; their areas add up to ``S``.
        sampling_locations: ``(B, Q, H, L, P, 2)``, x and y as fractions of the map; ``P`` points on each level.
        attention_weights: ``(B, Q, H, L, P)``; normalised by the caller (a row of zeros gives zeros).
        softmax: ``attention_weights`` are logits, normalised here over all levels and points.

    Returns:
        ``(B, Q, H * D)``, heads in order.

    Raises:
        ValueError: shapes do not fit each other.

    >>> value = torch.tensor([[1.0], [3.0]]).reshape(1, 2, 1, 1)  # one level of 1 x 2 cells
    >>> centre = torch.tensor([0.5, 0.5]).reshape(1, 1, 1, 1, 1, 2)
    >>> deformable_attention(value, [(1, 2)], centre, torch.ones(1, 1, 1, 1, 1)).item()
    2.0
    """
    _check(value, spatial_shapes, sampling_locations, attention_weights)
    samples = attention_weights.shape[3] * attention_weights.shape[4]
    if (
        use_kernels(value)
        and 0 not in (value.numel(), attention_weights.numel())
        and fused.fits(value.shape[3], samples)
        # Atomic additions have no order: the reference knows what to say then.
        and not torch.are_deterministic_algorithms_enabled()
    ):
        shapes = [side for shape in spatial_shapes for side in shape]
        return fused.forward(value, shapes, sampling_locations, attention_weights, softmax)
    return reference(value, spatial_shapes, sampling_locations, attention_weights, softmax=softmax)


def reference(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    softmax: bool = False,
) -> Tensor:
    """:func:`deformable_attention` in PyTorch, for valid arguments.

    >>> centre, one = torch.full((1, 1, 1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 1, 1)
    >>> reference(torch.tensor([[1.0], [3.0]]).reshape(1, 2, 1, 1), [(1, 2)], centre, one).item()
    2.0
    """
    batch, _, heads, channels = value.shape
    queries, points = sampling_locations.shape[1], sampling_locations.shape[4]
    if 0 in (batch, queries, heads, channels, points):  # grid_sample refuses empty tensors; keep the graph alive
        nothing = value.sum() + sampling_locations.sum() + attention_weights.sum()
        return (nothing * 0).to(value.dtype).expand(batch, queries, heads * channels)

    dtype = torch.promote_types(value.dtype, torch.float32)
    grid = 2 * sampling_locations.to(dtype) - 1
    weights = attention_weights.to(dtype)
    if softmax:
        weights = weights.flatten(3).softmax(-1).view(weights.shape)
    result = value.new_zeros((batch * heads, channels, queries), dtype=dtype)
    # Level by level, so that no tensor holds the samples of all levels.
    start = 0
    for level, (height, width) in enumerate(spatial_shapes):
        maps = value[:, start : start + height * width]
        start += height * width
        images = maps.to(dtype).permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        at = grid[:, :, :, level].transpose(1, 2).reshape(batch * heads, queries, points, 2)
        samples = F.grid_sample(images, at, mode="bilinear", padding_mode="zeros", align_corners=False)
        weight = weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, points)
        result = result + (samples * weight).sum(-1)
    return result.reshape(batch, heads * channels, queries).transpose(1, 2).to(value.dtype)


def _check(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> None:
    if isinstance(shapes, Tensor):
        raise TypeError("spatial_shapes must be a sequence of (height, width) integers, got a tensor: use .tolist()")
    if value.ndim != 4:
        raise ValueError(f"value must have shape (B, S, H, D), got {tuple(value.shape)}")
    cells = sum(height * width for height, width in shapes)
    if cells != value.shape[1]:
        raise ValueError(f"spatial_shapes {list(shapes)} have {cells} cells, but value has {value.shape[1]} rows")
    batch, heads = value.shape[0], value.shape[2]
    expected = (batch, heads, len(shapes))
    if weights.ndim != 5 or (weights.shape[0], weights.shape[2], weights.shape[3]) != expected:
        raise ValueError(
            f"attention_weights must have shape (B, Q, H, L, P) with B, H, L = {expected}, got {tuple(weights.shape)}"
        )
    if tuple(locations.shape) != (*weights.shape, 2):
        raise ValueError(
            f"sampling_locations must have the shape of attention_weights and a last dimension of 2, "
            f"{(*tuple(weights.shape), 2)}, got {tuple(locations.shape)}"
        )
