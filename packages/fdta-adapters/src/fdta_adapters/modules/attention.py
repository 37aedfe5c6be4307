"""Attention layers shared by the spatial and the temporal adapter."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PostNormLayer(nn.Module):
    """Transformer encoder layer with post-norm and ReLU, whose positions are added to queries and keys only.

    Args:
        channels: Number of channels.
        heads: Number of heads.
        ffn_dim: Number of hidden channels of the feed-forward.
        dropout: Dropout probability, in attention, feed-forward and both residuals.

    >>> import torch
    >>> PostNormLayer(8, 2, 16)(torch.zeros(1, 3, 8), torch.zeros(1, 3, 8)).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, channels: int, heads: int, ffn_dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(channels, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, positions: Tensor, padding: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Apply the layer.

        Args:
            x: Tokens of shape ``(B, S, C)``.
            positions: Position encodings that broadcast to ``(B, S, C)``.
            padding: Boolean mask of shape ``(B, S)``, True where a token is not attended to.
            mask: Additive mask of shape ``(B * heads, S, S)``.
        """
        asked = x + positions
        x = self.norm1(x + self.dropout(cross_attend(self.self_attn, asked, asked, x, padding, mask)))
        hidden = self.dropout(F.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


def cross_attend(
    attention: nn.MultiheadAttention,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    padding: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Apply an attention; a batch element whose keys are all padded gets 0, where the softmax alone would give NaN."""
    nothing = None
    if padding is not None:
        nothing = padding.all(1, keepdim=True)
        padding = padding & ~nothing
    attended: Tensor = attention(queries, keys, values, key_padding_mask=padding, attn_mask=mask, need_weights=False)[0]
    return attended if nothing is None else attended.masked_fill(nothing[..., None], 0)
