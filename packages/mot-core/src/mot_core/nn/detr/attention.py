"""Multi-scale deformable attention as a module: projections around :func:`mot_core.ops.deformable_attention`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mot_core.ops import deformable_attention


class DeformableAttention(nn.Module):
    r"""Attention of every query to a few learned points around its reference, on every level.

    Deformable DETR (Zhu et al., ICLR 2021, arXiv:2010.04159), eq. 3:

    .. math::

        y_q = \sum_h W_h \left[ \sum_l \sum_p A_{hlqp} \, W'_h x^l(\phi_l(\hat p_q) + \Delta p_{hlqp}) \right]

    Sampling locations and weights are computed in at least float32, also under autocast.

    Args:
        embed_dim: Number of channels of queries and values.
        num_levels: Number of levels of the pyramid.
        num_heads: Number of heads; must divide ``embed_dim``.
        num_points: Number of points per head and level.

    Attributes:
        height_first: Divide horizontal offsets from points by the height of the map and vertical ones by the width. The
            released TrackFormer was trained like this; otherwise False.

    >>> attention = DeformableAttention(embed_dim=8, num_levels=1, num_heads=2, num_points=1)
    >>> references = torch.full((1, 3, 1, 2), 0.5)
    >>> attention(torch.zeros(1, 3, 8), references, torch.zeros(1, 6, 8), [(2, 3)]).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, embed_dim: int = 256, num_levels: int = 4, num_heads: int = 8, num_points: int = 4) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}")
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        self.height_first = False
        self.head_dim = embed_dim // num_heads
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(embed_dim, samples * 2)
        self.attention_weights = nn.Linear(embed_dim, samples)
        self.value_proj = nn.Linear(embed_dim, embed_dim)
        self.output_proj = nn.Linear(embed_dim, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize equal weights on points that lie 1, 2, ... cells away, one direction per head."""
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)  # on the unit square, not the unit circle
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = directions[:, None, None, :] * steps[:, None]
        with torch.no_grad():
            offsets = offsets.expand(self.num_heads, self.num_levels, self.num_points, 2).flatten()
            self.sampling_offsets.bias.copy_(offsets)
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        queries: Tensor,
        references: Tensor,
        value: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend to the sampled points.

        Args:
            queries: Queries with positions added, of shape ``(B, Q, C)``.
            references: Points ``(B, Q, L, 2)`` or boxes ``(B, Q, L, 4)`` (cx, cy, w, h) as fractions of each level's
                map. Offsets are in cells for points; for boxes, in half box sizes divided by the number of points.
            value: Features of shape ``(B, S, C)``, all levels concatenated.
            spatial_shapes: (height, width) of every level.
            padding_mask: Boolean mask of shape ``(B, S)``, True where ``value`` is padding and treated as zero.

        Returns:
            Tensor of shape ``(B, Q, C)``.
        """
        if references.shape[-1] not in (2, 4):
            raise ValueError(f"references must end with 2 (points) or 4 (boxes), got {tuple(references.shape)}")
        batch, num_queries, _ = queries.shape
        samples = (self.num_levels, self.num_points)
        value = self.value_proj(value)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask[..., None], 0)
        offsets = self.sampling_offsets(queries).view(batch, num_queries, self.num_heads, *samples, 2)
        logits = self.attention_weights(queries).view(batch, num_queries, self.num_heads, *samples)

        references = references.to(torch.promote_types(references.dtype, torch.float32))[:, :, None, :, None]
        if references.shape[-1] == 2:
            sizes = [(height, width) if self.height_first else (width, height) for height, width in spatial_shapes]
            cells = references.new_tensor(sizes)
            locations = references + offsets / cells[:, None]
        else:
            locations = references[..., :2] + offsets / self.num_points * references[..., 2:] * 0.5
        result = deformable_attention(
            value.view(batch, value.shape[1], self.num_heads, self.head_dim),
            spatial_shapes,
            locations,
            logits,
            softmax=True,
        )
        return self.output_proj(result)
