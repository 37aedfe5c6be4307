"""MeMOTR's temporal interaction module: track queries from two frames and a long-term memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mot_core.nn.attention import attend
from mot_core.nn.detr.position import sine_boxes
from mot_core.nn.mlp import MLP, FeedForward


class TemporalInteraction(nn.Module):
    r"""Update of track queries with a long-term memory.

    MeMOTR (Gao and Wang, ICCV 2023, arXiv:2307.15700, section 3.3). With the output :math:`o_t` of a track, its output
    :math:`o_{t-1}` in the frame before, its memory :math:`m_t` and its position :math:`p`:

    .. math::

        s &= \mathrm{MLP}_f([\sigma(\mathrm{MLP}_c(o_t)) \cdot o_t, \; o_{t-1}]) \\
        h &= \mathrm{FFN}(\mathrm{norm}(o_t + \mathrm{attention}(s + p, \; m_t + p, \; o_t))) \\
        q_{t+1} &= \mathrm{FFN}(\mathrm{norm}(m_t + h)), \qquad m_{t+1} = (1 - \lambda) m_t + \lambda o_t

    With ``dab``, :math:`p` comes from the anchor. Otherwise a query is a position followed by a content, and :math:`p`
    is its position half, which is updated as well: ``norm(p + MLP(h))``.

    Args:
        embed_dim: Number of channels ``C``, a multiple of 4.
        ffn_dim: Number of hidden channels of the feed-forwards.
        num_heads: Number of heads of the attention.
        dropout: Dropout probability.
        dab: Whether queries have anchors.
        memory_rate: :math:`\lambda`. Higher values forget faster.

    >>> module, tracks = TemporalInteraction(8, 16, 2), torch.zeros(1, 3, 8)
    >>> queries, memory = module(tracks, torch.full((1, 3, 4), 0.5), tracks + 1, tracks, tracks)
    >>> queries.shape, memory[0, 0, 0].item()
    (torch.Size([1, 3, 8]), 0.009999999776482582)
    """

    def __init__(
        self,
        embed_dim: int = 256,
        ffn_dim: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.0,
        dab: bool = True,
        memory_rate: float = 0.01,
    ) -> None:
        super().__init__()
        self.embed_dim, self.memory_rate = embed_dim, memory_rate
        self.confidence = MLP(embed_dim, embed_dim, embed_dim, 2)
        self.fusion = MLP(2 * embed_dim, 2 * embed_dim, embed_dim, 2)
        self.memory_attn = nn.MultiheadAttention(embed_dim, num_heads, dropout, batch_first=True)
        self.memory_norm = nn.LayerNorm(embed_dim)
        self.memory_ffn = FeedForward(embed_dim, ffn_dim, dropout)
        self.query_norm = nn.LayerNorm(embed_dim)
        self.query_ffn = FeedForward(embed_dim, ffn_dim, dropout)
        self.position_head = MLP(2 * embed_dim, embed_dim, embed_dim, 2) if dab else None
        self.position_update = None if dab else MLP(embed_dim, embed_dim, embed_dim, 2)
        self.position_norm = None if dab else nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        queries: Tensor,
        references: Tensor,
        outputs: Tensor,
        previous: Tensor,
        memory: Tensor,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute queries and memories of the next frame.

        Args:
            queries: Queries from which the tracks were decoded, ``(B, M, 2C)``; unused with ``dab``.
            references: Boxes of the tracks (cx, cy, w, h) in [0, 1], ``(B, M, 4)``; unused without ``dab``.
            outputs: Outputs of the last decoder layer for the tracks, ``(B, M, C)``.
            previous: Outputs of the frame before, ``(B, M, C)``.
            memory: Long-term memories, ``(B, M, C)``.
            valid: Boolean mask of shape ``(B, M)``, False for padded tracks, which no other track attends to. None
                means all are valid.

        Returns:
            Queries ``(B, M, C)``, or ``(B, M, 2C)`` without ``dab``, and memories ``(B, M, C)``.
        """
        if self.position_head is not None:
            encoded = sine_boxes(references, self.embed_dim)
            position = self.position_head(encoded.to(outputs.dtype))
        else:
            position = queries[..., : self.embed_dim]
        trusted = self.confidence(outputs).sigmoid() * outputs
        short = self.fusion(torch.cat([trusted, previous], -1))
        seen = attend(self.memory_attn, outputs, position, valid, queries=short, keys=memory)
        tracks = self.memory_ffn(self.memory_norm(outputs + self.dropout(seen)))
        content = self.query_ffn(self.query_norm(memory + self.dropout(tracks)))
        if self.position_update is not None and self.position_norm is not None:
            position = self.position_norm(position + self.dropout(self.position_update(tracks)))
            content = torch.cat([position, content], -1)
        return content, (1 - self.memory_rate) * memory + self.memory_rate * outputs
