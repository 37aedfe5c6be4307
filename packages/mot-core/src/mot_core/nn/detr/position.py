"""Sine position encodings of feature maps and boxes."""

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
    halves = []
    for dim in (1, 2):
        count = valid.cumsum(dim, dtype=torch.float32)
        fraction = (count - 0.5) / (count.narrow(dim, -1, 1) + 1e-6)
        halves.append(_sine(fraction, embed_dim // 2, temperature))
    return torch.cat(halves, -1).permute(0, 3, 1, 2)


def sine_frame_position(
    padding_mask: Tensor, frame: int, num_frames: int, embed_dim: int = 288, temperature: float = 10_000.0
) -> Tensor:
    """Encode the frame, row and column of every cell of one of several frames, with a third of the channels each.

    The encoding of :func:`sine_position` for the fractions ``(frame + 1) / num_frames``, ``row / rows`` and ``column /
    columns`` of the valid part, with rows and columns counted from 1 (TrackFormer, Meinhardt et al., CVPR 2022,
    arXiv:2101.02702). Always computed in float32, like the released tracker.

    Args:
        padding_mask: Boolean mask of shape ``(B, h, w)``, True where the cell is padding.
        frame: Index of the frame, from 0 for the earliest.
        num_frames: Number of frames.
        embed_dim: Number of channels, even. The frame gets the remainder of a division by 3.
        temperature: Base of the geometric series of wavelengths.

    Returns:
        Encodings of shape ``(B, embed_dim, h, w)``, float32.

    >>> position = sine_frame_position(torch.zeros(1, 2, 4, dtype=torch.bool), frame=0, num_frames=4, embed_dim=6)
    >>> [round(v, 3) for v in position[0, :, 0, 0].tolist()]  # frame 1 of 4, row 1 of 2, column 1 of 4
    [1.0, 0.0, 0.0, -1.0, 1.0, 0.0]
    """
    if embed_dim % 2 or embed_dim < 6:
        raise ValueError(f"embed_dim must be even and at least 6 (sine and cosine of 3 numbers), got {embed_dim}")
    valid = ~padding_mask
    side = embed_dim // 6 * 2
    parts = [
        _sine((frame + 1) * valid.float() / (num_frames * valid.float() + 1e-6), embed_dim - 2 * side, temperature)
    ]
    for dim in (1, 2):
        count = valid.cumsum(dim, dtype=torch.float32)
        parts.append(_sine(count / (count.narrow(dim, -1, 1) + 1e-6), side, temperature))
    return torch.cat(parts, -1).permute(0, 3, 1, 2)


def sine_boxes(boxes: Tensor, embed_dim: int = 256, temperature: float = 10_000.0) -> Tensor:
    """Encode the coordinates of boxes or points with ``embed_dim / 2`` channels each, as :func:`sine_position` does.

    The anchor encoding of DAB-DETR (Liu et al., ICLR 2022, arXiv:2201.12329, eq. 3). Computed in at least float32.

    Args:
        boxes: Coordinates in [0, 1], of shape ``(..., D)``.
        embed_dim: Number of channels of two coordinates, a multiple of 4.
        temperature: Base of the geometric series of wavelengths.

    Returns:
        Encodings of shape ``(..., D * embed_dim / 2)`` with the dtype of ``boxes``.

    >>> encoded = sine_boxes(torch.tensor([0.25, 0.5, 0.1, 0.2]), embed_dim=8)
    >>> encoded.shape, [round(v, 3) for v in encoded[:4].tolist()]
    (torch.Size([16]), [1.0, -0.0, 0.016, 1.0])
    """
    if embed_dim % 4:
        raise ValueError(f"embed_dim must be a multiple of 4 (sine and cosine of two coordinates), got {embed_dim}")
    wide = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    return _sine(wide, embed_dim // 2, temperature).flatten(-2).to(boxes.dtype)


def _sine(fractions: Tensor, channels: int, temperature: float) -> Tensor:
    """Encode fractions of a turn ``(...)`` with sines and cosines in turn, ``(..., channels)``."""
    index = torch.arange(channels, dtype=torch.float32, device=fractions.device)
    wavelength = temperature ** (2 * (index // 2) / channels)
    angle = (fractions * (2 * math.pi))[..., None] / wavelength
    return torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2)
