"""Encoder of Deformable DETR: every cell of a pyramid attends to a few cells on all levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mot_core.nn.detr.attention import DeformableAttention
from mot_core.nn.detr.pyramid import flatten_levels, flatten_masks, spatial_shapes, valid_ratios
from mot_core.nn.mlp import FeedForward
from mot_core.structures import FeaturePyramid


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward, each with residual and post-norm.

    Args:
        embed_dim: Number of channels.
        num_heads: Number of heads of the attention.
        ffn_dim: Number of hidden channels of the feed-forward.
        num_levels: Number of levels of the pyramid.
        num_points: Number of points per head and level.
        dropout: Dropout probability.

    >>> layer = DeformableEncoderLayer(embed_dim=8, num_heads=2, ffn_dim=16, num_levels=1)
    >>> tokens = torch.zeros(1, 6, 8)
    >>> layer(tokens, tokens, encoder_references([(2, 3)], torch.ones(1, 1, 2)), [(2, 3)]).shape
    torch.Size([1, 6, 8])
    """

    def __init__(
        self,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 1024,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(embed_dim, num_levels, num_heads, num_points)
        self.self_attn_norm = nn.LayerNorm(embed_dim)
        self.ffn = FeedForward(embed_dim, ffn_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        references: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Refine ``tokens (B, S, C)``; the other arguments are those of :meth:`DeformableAttention.forward`."""
        attended = self.self_attn(tokens + positions, references, tokens, shapes, padding_mask)
        return self.ffn(self.self_attn_norm(tokens + self.dropout(attended)))


class DeformableEncoder(nn.Module):
    """Stack of encoder layers; a learned vector per level is added to the positions.

    Args:
        num_layers: Number of layers.
        embed_dim: Number of channels.
        num_heads: Number of heads of the attention.
        ffn_dim: Number of hidden channels of the feed-forward.
        num_levels: Number of levels of the pyramid.
        num_points: Number of points per head and level.
        dropout: Dropout probability.
        num_frames: Number of frames with level vectors of their own.

    >>> encoder = DeformableEncoder(num_layers=1, embed_dim=8, num_heads=2, ffn_dim=16, num_levels=1)
    >>> maps = (torch.zeros(1, 8, 2, 3),)
    >>> encoder(FeaturePyramid(maps, (torch.zeros(1, 2, 3, dtype=torch.bool),), maps)).shape
    torch.Size([1, 6, 8])
    """

    def __init__(
        self,
        num_layers: int = 6,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 1024,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.0,
        num_frames: int = 1,
    ) -> None:
        super().__init__()
        self.num_levels = num_levels
        self.level_embed = nn.Parameter(torch.empty(num_frames * num_levels, embed_dim))
        nn.init.normal_(self.level_embed)
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(embed_dim, num_heads, ffn_dim, num_levels, num_points, dropout)
            for _ in range(num_layers)
        )

    def forward(self, pyramid: FeaturePyramid, frame: int = 0) -> Tensor:
        """Encode the levels of ``pyramid`` into the memory ``(B, S, C)``, with the level vectors of ``frame``."""
        if len(pyramid.levels) != self.num_levels or pyramid.positions is None:
            raise ValueError(
                f"the encoder needs {self.num_levels} levels with their positions, "
                f"got {len(pyramid.levels)} levels and {len(pyramid.positions or ())} positions"
            )
        tokens = flatten_levels(pyramid.levels)
        own = self.level_embed[frame * self.num_levels : (frame + 1) * self.num_levels]
        positions = [
            position.to(tokens.dtype) + embed[:, None, None]
            for position, embed in zip(pyramid.positions, own, strict=True)
        ]
        shapes, mask = spatial_shapes(pyramid.levels), flatten_masks(pyramid.masks)
        references = encoder_references(shapes, valid_ratios(pyramid.masks))
        flat_positions = flatten_levels(positions)
        for layer in self.layers:
            tokens = layer(tokens, flat_positions, references, shapes, mask)
        return tokens


def encoder_references(shapes: Sequence[tuple[int, int]], ratios: Tensor) -> Tensor:
    """Centers of all cells as fractions of the map of every level: ``(B, S, L, 2)`` (x, y), float32.

    A center is a fraction of the valid part of its own level, and the same fraction of the valid part of the other
    levels, so that padding does not shift references.

    Args:
        shapes: (height, width) of every level.
        ratios: Valid ratios of shape ``(B, L, 2)``; see :func:`mot_core.nn.detr.pyramid.valid_ratios`.

    >>> encoder_references([(1, 2), (1, 1)], torch.ones(1, 2, 2))[0, :, 0].tolist()
    [[0.25, 0.5], [0.75, 0.5], [0.5, 0.5]]
    """
    centers = []
    for (height, width), ratio in zip(shapes, ratios.unbind(1), strict=True):
        rows = torch.linspace(0.5, height - 0.5, height, dtype=torch.float32, device=ratios.device)
        columns = torch.linspace(0.5, width - 0.5, width, dtype=torch.float32, device=ratios.device)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        grid = torch.stack([x.flatten(), y.flatten()], -1)
        centers.append(grid / (ratio[:, None] * ratio.new_tensor([width, height])))
    return torch.cat(centers, 1)[:, :, None] * ratios[:, None]
