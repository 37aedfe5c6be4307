"""MOTIP's trajectory modeling: converts detector embeddings into tokens of a track's history."""

from __future__ import annotations

from torch import Tensor, nn

from mot_core.nn.mlp import FeedForward


class TrajectoryModel(nn.Module):
    """Two feed-forward parts, applied to every embedding separately (MOTIP, Gao et al., CVPR 2025, section 3.3).

    Used on the history only; embeddings of the current frame enter the ID decoder unchanged.

    Args:
        embed_dim: Number of channels of the embeddings.
        ffn_dim: Number of hidden channels.

    >>> import torch
    >>> TrajectoryModel(8, 16)(torch.zeros(1, 4, 5, 8)).shape
    torch.Size([1, 4, 5, 8])
    """

    def __init__(self, embed_dim: int = 256, ffn_dim: int = 512) -> None:
        super().__init__()
        self.adapter = FeedForward(embed_dim, ffn_dim, activation="gelu")
        self.ffn = FeedForward(embed_dim, ffn_dim, activation="gelu")

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map ``(..., C)`` to the same shape."""
        return self.ffn(self.adapter(embeddings))
