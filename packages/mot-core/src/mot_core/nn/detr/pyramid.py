"""Feature pyramids as token sequences: all cells of all levels, concatenated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def spatial_shapes(maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return (height, width) of maps ``(..., h, w)``.

    >>> spatial_shapes([torch.zeros(1, 8, 2, 3), torch.zeros(1, 8, 1, 2)])
    [(2, 3), (1, 2)]
    """
    return [(level.shape[-2], level.shape[-1]) for level in maps]


def flatten_levels(maps: Sequence[Tensor]) -> Tensor:
    """Flatten the maps ``(B, C, h, w)`` of all levels to tokens ``(B, S, C)``, each level in row-major order.

    >>> flatten_levels([torch.zeros(1, 8, 2, 3), torch.zeros(1, 8, 1, 2)]).shape
    torch.Size([1, 8, 8])
    """
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)


def flatten_masks(masks: Sequence[Tensor]) -> Tensor:
    """Flatten the padding masks ``(B, h, w)`` of all levels to ``(B, S)``, in the order of :func:`flatten_levels`.

    >>> flatten_masks([torch.tensor([[[False, True]]]), torch.tensor([[[False]]])])
    tensor([[False,  True, False]])
    """
    return torch.cat([mask.flatten(1) for mask in masks], 1)


def valid_ratios(masks: Sequence[Tensor]) -> Tensor:
    """Fraction of each level's width and height that is not padding, at least one cell: ``(B, L, 2)`` float32.

    >>> valid_ratios([torch.tensor([[[False, False, False, True]]])]).tolist()
    [[[0.75, 1.0]]]
    """
    ratios = []
    for mask in masks:
        height, width = mask.shape[1:]
        columns, rows = (~mask[:, 0, :]).sum(1), (~mask[:, :, 0]).sum(1)
        # At least one cell, so that frames of padding only (clips of unequal length in a batch) stay finite.
        ratios.append(torch.stack([columns.clamp(min=1) / width, rows.clamp(min=1) / height], -1))
    return torch.stack(ratios, 1)


def resize_mask(padding_mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize the padding mask of an image ``(B, H, W)`` to ``size`` (height, width) with nearest neighbors.

    >>> resize_mask(torch.tensor([[[False, False, True, True]]]), (1, 2))
    tensor([[[False,  True]]])
    """
    return F.interpolate(padding_mask[:, None].float(), size=size).squeeze(1).bool()
