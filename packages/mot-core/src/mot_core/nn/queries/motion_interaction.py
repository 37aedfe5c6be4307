"""MOTE's enhanced track embedding: a query interaction that sees the motion of the scene."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.queries.query_interaction import QueryInteraction


class MotionInteraction(QueryInteraction):
    """Query interaction whose attention has a projection of the scene's motion in place of the positions.

    The enhanced track embedding module of MOTE (Galoaa et al., "More Than Meets the Eye: Enhancing Multi-Object
    Tracking Even with Prolonged Occlusions", ICML 2025).

    Args:
        embed_dim: Number of channels ``C``.
        ffn_dim: Number of hidden channels.
        num_heads: Number of heads of the attention.
        dropout: Dropout probability.

    >>> MotionInteraction(8, 16, 2)(torch.zeros(1, 3, 16), torch.zeros(1, 3, 8), motion=torch.zeros(1, 3, 8)).shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, embed_dim: int = 256, ffn_dim: int = 1024, num_heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__(embed_dim, ffn_dim, num_heads, dropout)
        self.motion = nn.Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.motion.weight)
        nn.init.zeros_(self.motion.bias)

    def forward(
        self, queries: Tensor, hidden: Tensor, valid: Tensor | None = None, motion: Tensor | None = None
    ) -> Tensor:
        """Compute the queries of the next frame.

        Args:
            queries: Track queries of this frame, ``(B, M, 2C)``, position then content.
            hidden: Outputs of the last decoder layer for these tracks, ``(B, M, C)``.
            valid: Boolean mask of shape ``(B, M)``, False for padded tracks, which no other track attends to. None
                means all are valid.
            motion: Motion of the scene, ``(B, M, C)``. None means zeros.

        Returns:
            Queries of shape ``(B, M, 2C)``.
        """
        return self.interact(
            queries, hidden, self.motion(torch.zeros_like(hidden) if motion is None else motion), valid
        )


def fuse_motion(levels: Sequence[Tensor], flow: Tensor) -> Tensor:
    r"""Sum feature maps and flow with softmax weights, at the size of the smallest map.

    .. math::

        s = \sum_i \frac{e^{x_i}}{\sum_j e^{x_j}} \, x_i

    over the resized maps and the flow, for every channel and cell ("softmax splatting" in the released code of MOTE).

    Args:
        levels: Feature maps of shape ``(B, C, h, w)`` with even ``C``, of any sizes.
        flow: Flow of shape ``(B, 2, H, W)`` in pixels. It enters in cells of the smallest map, its two channels
            repeated in turn.

    Returns:
        Tensor of shape ``(B, C, h, w)``.

    Raises:
        ValueError: If the number of channels is odd.

    >>> fused = fuse_motion([torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 1, 1)], torch.full((1, 2, 4, 4), 4.0))
    >>> round(fused[0, 0, 0, 0].item(), 4)  # e / (2 + e) * 1
    0.5761
    """
    size = min((tuple(level.shape[2:]) for level in levels), key=lambda one: one[0] * one[1])
    channels = levels[0].shape[1]
    if channels % 2:
        raise ValueError(f"levels: expected an even number of channels, got {channels}")
    cells = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]])[:, None, None]
    maps = [*levels, (flow * cells).to(levels[0].dtype).repeat(1, channels // 2, 1, 1)]
    stacked = torch.stack([F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in maps])
    return (stacked.softmax(0) * stacked).sum(0)


def pool_motion(fused: Tensor, mask: Tensor) -> Tensor:
    """Average a map over its cells that are not padding.

    Args:
        fused: Map of shape ``(B, C, h, w)``.
        mask: Boolean mask of shape ``(B, h, w)``, True where the cell is padding.

    Returns:
        Tensor of shape ``(B, C)``.

    >>> pool_motion(torch.tensor([[[[1.0, 9.0]]]]), torch.tensor([[[False, True]]]))
    tensor([[1.]])
    """
    valid = (~mask)[:, None]
    return fused.masked_fill(~valid, 0).sum((2, 3)) / valid.sum((2, 3)).clamp(min=1)
