"""Self-attention among queries, of which some may be padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def attend(attention: nn.MultiheadAttention, x: Tensor, positions: Tensor, valid: Tensor | None = None) -> Tensor:
    """Lets the rows of ``x`` attend to each other; positions count for who asks and is asked, not for values.

    Args:
        attention: with ``batch_first``.
        x: ``(B, N, C)``.
        positions: ``(B, N, C)``.
        valid: ``(B, N)`` bool, False for rows that no other row sees; None for all valid.

    Returns:
        ``(B, N, C)``, finite also for rows that are not valid.

    >>> attention = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> attend(attention, torch.zeros(1, 5, 8), torch.zeros(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """
    forbidden = None
    if valid is not None:
        # A padded query keeps sight of itself: a row without any key would be NaN.
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        forbidden = (~valid[:, None, :] & ~itself).repeat_interleave(attention.num_heads, 0)
    asked = x + positions
    return attention(asked, asked, x, attn_mask=forbidden, need_weights=False)[0]
