"""Self-attention among queries, with padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def attend(
    attention: nn.MultiheadAttention,
    x: Tensor,
    positions: Tensor,
    valid: Tensor | None = None,
    *,
    queries: Tensor | None = None,
    keys: Tensor | None = None,
) -> Tensor:
    """Apply self-attention to the rows of ``x``; positions are added to queries and keys, not to values.

    Args:
        attention: Attention module with ``batch_first=True``.
        x: Features of shape ``(B, N, C)``.
        positions: Position encodings of shape ``(B, N, C)``.
        valid: Boolean mask of shape ``(B, N)``, False for rows that no other row attends to. None means all are valid.
        queries: Features that replace ``x`` as queries, of the same shape.
        keys: Features that replace ``x`` as keys, of the same shape.

    Returns:
        Tensor of shape ``(B, N, C)``, finite also for rows that are not valid.

    >>> attention = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> attend(attention, torch.zeros(1, 5, 8), torch.zeros(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """
    forbidden = None
    if valid is not None:
        # A padded query attends to itself, because a row without any key would be NaN.
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        forbidden = (~valid[:, None, :] & ~itself).repeat_interleave(attention.num_heads, 0)
    asked = (x if queries is None else queries) + positions
    # One tensor for queries and keys selects the faster path of the attention.
    offered = asked if queries is None and keys is None else (x if keys is None else keys) + positions
    return attention(asked, offered, x, attn_mask=forbidden, need_weights=False)[0]
