"""MOTR's query interaction module: converts decoder outputs of tracks into their queries for the next frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mot_core.nn.attention import attend
from mot_core.nn.mlp import MLP, FeedForward


class QueryInteraction(nn.Module):
    """Self-attention among tracks, followed by an update of position and content of their queries.

    The temporal aggregation network of MOTR (Zeng et al., ECCV 2022, arXiv:2105.03247, section 3.4), with updates of
    the positions.

    Args:
        embed_dim: Number of channels ``C``.
        ffn_dim: Number of hidden channels.
        num_heads: Number of heads of the attention.
        dropout: Dropout probability.

    >>> QueryInteraction(8, 16, 2)(torch.zeros(1, 3, 16), torch.zeros(1, 3, 8)).shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, embed_dim: int = 256, ffn_dim: int = 1024, num_heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(embed_dim, num_heads, dropout, batch_first=True)
        self.self_attn_norm = nn.LayerNorm(embed_dim)
        self.ffn = FeedForward(embed_dim, ffn_dim, dropout)
        self.position_update = MLP(embed_dim, ffn_dim, embed_dim, 2, dropout)
        self.position_norm = nn.LayerNorm(embed_dim)
        self.content_update = MLP(embed_dim, ffn_dim, embed_dim, 2, dropout)
        self.content_norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, queries: Tensor, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
        """Compute the queries of the next frame.

        Args:
            queries: Track queries of this frame, ``(B, M, 2C)``, position then content.
            hidden: Outputs of the last decoder layer for these tracks, ``(B, M, C)``.
            valid: Boolean mask of shape ``(B, M)``, False for padded tracks, which no other track attends to. None
                means all are valid.

        Returns:
            Queries of shape ``(B, M, 2C)``.
        """
        return self.interact(queries, hidden, queries.chunk(2, -1)[0], valid)

    def interact(self, queries: Tensor, hidden: Tensor, added: Tensor, valid: Tensor | None = None) -> Tensor:
        """Compute the queries of the next frame, with ``added (B, M, C)`` in the queries and keys of the attention."""
        if queries.shape[1] == 0:
            return queries
        position, content = queries.chunk(2, -1)
        seen = attend(self.self_attn, hidden, added, valid)
        tracks = self.ffn(self.self_attn_norm(hidden + self.dropout(seen)))
        position = self.position_norm(position + self.dropout(self.position_update(tracks)))
        content = self.content_norm(content + self.dropout(self.content_update(tracks)))
        return torch.cat([position, content], -1)
