"""Foreground masks from boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def foreground_mask(boxes_xyxy: Tensor, valid: Tensor, size: tuple[int, int], *, wrap: bool = False) -> Tensor:
    """Mark the cells of a grid that any box touches, without a loop over boxes.

    Corners are rounded outward. The four corners of each box enter an integer grid with alternating signs; its
    cumulative sum over rows and columns counts the boxes over each cell. Integer sums make it deterministic.

    Args:
        boxes_xyxy: Corners in cells of the grid, of shape ``(B, G, 4)``; parts outside the grid are ignored.
        valid: Boolean mask of shape ``(B, G)``, False where padded; values of padded boxes have no effect.
        size: (height, width) of the grid.
        wrap: Count negative corners from the opposite side, as indices of Python slices. The released code does so, and
            thereby drops most boxes that extend beyond the left or top of the image.

    Returns:
        Boolean mask of shape ``(B, height, width)``.

    >>> foreground_mask(torch.tensor([[[0.5, 0.0, 1.5, 1.0]]]), torch.ones(1, 1).bool(), (2, 3)).int()
    tensor([[[1, 1, 0],
             [0, 0, 0]]], dtype=torch.int32)
    """
    height, width = size
    boxes = boxes_xyxy.where(valid[..., None], 0)
    left, top, right, bottom = torch.cat([boxes[..., :2].floor(), boxes[..., 2:].ceil()], -1).unbind(-1)
    left, right = (_limited(edge, width, wrap) for edge in (left, right))
    top, bottom = (_limited(edge, height, wrap) for edge in (top, bottom))
    counted = (valid & (right > left) & (bottom > top)).int()
    grid = counted.new_zeros(len(boxes), (height + 1) * (width + 1))
    for row, column, sign in ((top, left, 1), (bottom, right, 1), (top, right, -1), (bottom, left, -1)):
        grid.scatter_add_(1, row * (width + 1) + column, sign * counted)
    grid = grid.view(-1, height + 1, width + 1).cumsum(1).cumsum(2)
    return grid[:, :height, :width] > 0


def pad_boxes(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack the boxes of several images.

    Args:
        boxes: Boxes of each image, of shape ``(n, 4)``.

    Returns:
        Boxes of shape ``(B, G, 4)``, and a boolean mask of shape ``(B, G)``, False where padded.

    >>> pad_boxes([torch.rand(2, 4), torch.rand(0, 4)])[1]
    tensor([[ True,  True],
            [False, False]])
    """
    padded = nn.utils.rnn.pad_sequence([one.reshape(-1, 4) for one in boxes], batch_first=True)
    counts = torch.tensor([len(one) for one in boxes], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < counts[:, None]


def _limited(edge: Tensor, end: int, wrap: bool) -> Tensor:
    return (torch.where(edge < 0, edge + end, edge) if wrap else edge).clamp(0, end).long()
