"""Multi-scale deformable attention: a weighted sum of bilinear samples at a few points on every level."""

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
    r"""Sum weighted bilinear samples of a feature pyramid, per query and head.

    Deformable DETR (Zhu et al., ICLR 2021, arXiv:2010.04159), eq. 3, without its linear projections:

    .. math::

        y_{qh} = \sum_{l=1}^{L} \sum_{p=1}^{P} A_{qhlp} \, V_{lh}(x_{qhlp})

    ``A`` are the attention weights and ``V_lh(x)`` is the bilinear interpolation of head ``h`` of level ``l`` at ``x``.
    A map is zero outside its borders; (0, 0) is its top left corner and (1, 1) its bottom right corner, so the center
    of its first cell is (0.5 / width, 0.5 / height).

    Half precision is computed in float32 and returned in the dtype of ``value``.

    Args:
        value: Concatenated maps of all levels, each in row-major order, of shape ``(B, S, H, D)`` for ``H`` heads.
        spatial_shapes: (height, width) of every level in cells; the areas add up to ``S``.
        sampling_locations: Sampling points (x, y) of shape ``(B, Q, H, L, P, 2)``, as fractions of the map, with ``P``
            points per level.
        attention_weights: Weights of shape ``(B, Q, H, L, P)``, normalized by the caller. A row of zeros gives zeros.
        softmax: Whether ``attention_weights`` are logits, to be normalized here over all levels and points.

    Returns:
        Tensor of shape ``(B, Q, H * D)``, with the heads concatenated in order.

    Raises:
        ValueError: If the shapes do not match.
        TypeError: If ``spatial_shapes`` is a tensor.

    >>> value = torch.tensor([[1.0], [3.0]]).reshape(1, 2, 1, 1)  # one level of 1 x 2 cells
    >>> center = torch.tensor([0.5, 0.5]).reshape(1, 1, 1, 1, 1, 2)
    >>> deformable_attention(value, [(1, 2)], center, torch.ones(1, 1, 1, 1, 1)).item()
    2.0
    """
    _check(value, spatial_shapes, sampling_locations, attention_weights)
    samples = attention_weights.shape[3] * attention_weights.shape[4]
    if (
        use_kernels(value)
        and 0 not in (value.numel(), attention_weights.numel())
        and fused.fits(value.shape[3], samples)
        # Atomic additions are not deterministic; the reference raises or warns as PyTorch does.
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
    """Compute :func:`deformable_attention` in PyTorch, for validated arguments.

    >>> center, one = torch.full((1, 1, 1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 1, 1)
    >>> reference(torch.tensor([[1.0], [3.0]]).reshape(1, 2, 1, 1), [(1, 2)], center, one).item()
    2.0
    """
    batch, _, heads, channels = value.shape
    queries, points = sampling_locations.shape[1], sampling_locations.shape[4]
    if 0 in (batch, queries, heads, channels, points):  # grid_sample rejects empty tensors; keep the graph connected
        nothing = value.sum() + sampling_locations.sum() + attention_weights.sum()
        return (nothing * 0).to(value.dtype).expand(batch, queries, heads * channels)

    dtype = torch.promote_types(value.dtype, torch.float32)
    grid = 2 * sampling_locations.to(dtype) - 1
    weights = attention_weights.to(dtype)
    if softmax:
        weights = weights.flatten(3).softmax(-1).view(weights.shape)
    result = value.new_zeros((batch * heads, channels, queries), dtype=dtype)
    # One level at a time, so that no tensor holds the samples of all levels.
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
        raise TypeError("spatial_shapes must be a sequence of (height, width) integers, got a tensor; use .tolist()")
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
