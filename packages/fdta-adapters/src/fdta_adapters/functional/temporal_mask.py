"""The attention mask of the temporal adapter."""

from __future__ import annotations

import torch
from torch import Tensor


def dual_mask(missing: Tensor) -> Tensor:
    """Combine the causal mask and the mask of missing frames (FDTA, Eq. 3).

    A frame attends to itself and to earlier frames in which the object was seen. The diagonal stays open also for
    missing frames, so that every row of the attention has a key.

    Args:
        missing: Boolean mask of shape ``(..., T)``, True where the object was not seen.

    Returns:
        Boolean mask of shape ``(..., T, T)``, True where frame ``j`` (row) must not attend to frame ``k`` (column).

    >>> dual_mask(torch.tensor([False, True, False])).int()
    tensor([[0, 1, 1],
            [0, 0, 1],
            [0, 1, 0]], dtype=torch.int32)
    """
    frames = missing.shape[-1]
    square = torch.ones(frames, frames, dtype=torch.bool, device=missing.device)
    return (square.triu(1) | missing[..., None, :]) & ~square.tril().triu()
