"""Sliding windows over a clip, and means of sums with counts."""

from __future__ import annotations

from torch import Tensor


def windows(values: Tensor, size: int) -> Tensor:
    """Return all runs of ``size`` entries, ``(B, L)`` to ``(B, W, size)``; one shorter run if ``L < size``.

    >>> import torch
    >>> windows(torch.arange(4)[None], 3)
    tensor([[[0, 1, 2],
             [1, 2, 3]]])
    """
    return values.unfold(1, min(size, values.shape[1]), 1)


def mean(total: Tensor, count: Tensor) -> Tensor:
    """Return ``total / count``, or 0 where the count is 0.

    >>> import torch
    >>> mean(torch.tensor([3.0, 0.0]), torch.tensor([2, 0]))
    tensor([1.5000, 0.0000])
    """
    return total / count.clamp(min=1).to(total.dtype)
