"""Sine position encodings of feature maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_position(padding_mask: Tensor, embed_dim: int = 256, temperature: float = 10_000.0) -> Tensor:
    """Encode the row and column of every cell, as fractions of the valid part of its map.

    Half of the channels encode the row and half the column, with sines at even and cosines at odd indices, normalized
    to 2 pi (DETR, Carion et al. 2020, arXiv:2005.12872, appendix A.4)::

        E[2i] = sin(2 pi f / temperature^(2i / d)),   E[2i + 1] = cos(2 pi f / temperature^(2i / d))

    for the fraction ``f`` and ``d = embed_dim / 2``. Always computed in float32, like the released detectors.

    Args:
        padding_mask: Boolean mask of shape ``(B, h, w)``, True where the cell is padding.
        embed_dim: Number of channels, a multiple of 4.
        temperature: Base of the geometric series of wavelengths.

    Returns:
        Encodings of shape ``(B, embed_dim, h, w)``, float32.

    >>> position = sine_position(torch.zeros(1, 2, 4, dtype=torch.bool), embed_dim=8)
    >>> [round(v, 3) for v in position[0, :, 0, 1].tolist()]  # row 1 of 2, column 2 of 4
    [1.0, 0.0, 0.016, 1.0, 0.707, -0.707, 0.024, 1.0]
    """
    if embed_dim % 4:
        raise ValueError(f"embed_dim must be a multiple of 4 (sine and cosine of row and column), got {embed_dim}")
    valid = ~padding_mask
    axis_dim = embed_dim // 2
    index = torch.arange(axis_dim, dtype=torch.float32, device=padding_mask.device)
    wavelength = temperature ** (2 * (index // 2) / axis_dim)
    halves = []
    for dim in (1, 2):
        count = valid.cumsum(dim, dtype=torch.float32)
        fraction = (count - 0.5) / (count.narrow(dim, -1, 1) + 1e-6) * (2 * math.pi)
        angle = fraction[..., None] / wavelength
        halves.append(torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2))
    return torch.cat(halves, -1).permute(0, 3, 1, 2)
