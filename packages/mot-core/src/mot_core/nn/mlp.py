"""Multi-layer perceptrons: heads with hidden layers, and the feed-forward part of a transformer layer."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU and dropout between them.

    Args:
        in_dim: Number of input channels.
        hidden_dim: Number of channels between the layers.
        out_dim: Number of output channels.
        num_layers: Number of linear layers.
        dropout: Dropout probability.

    >>> import torch
    >>> MLP(256, 256, 4, 3)(torch.zeros(2, 300, 256)).shape
    torch.Size([2, 300, 4])
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        dims = [in_dim, *[hidden_dim] * (num_layers - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(dims))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_dim)`` to ``(..., out_dim)``."""
        for layer in self.layers[:-1]:
            x = self.dropout(F.relu(layer(x)))
        return self.layers[-1](x)


class FeedForward(nn.Module):
    """Feed-forward part of a post-norm transformer layer: ``norm(x + W2 act(W1 x))``.

    Args:
        embed_dim: Number of channels of input and output.
        hidden_dim: Number of hidden channels.
        dropout: Dropout probability, after the activation and before the sum.
        activation: "relu" or "gelu".

    >>> import torch
    >>> FeedForward(8, 16)(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, embed_dim: int, hidden_dim: int, dropout: float = 0.0, activation: str = "relu") -> None:
        super().__init__()
        if activation not in ("relu", "gelu"):
            raise ValueError(f'activation must be "relu" or "gelu", got {activation!r}')
        self.linear1 = nn.Linear(embed_dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.activation = F.relu if activation == "relu" else F.gelu

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., embed_dim)`` to the same shape."""
        hidden = self.dropout(self.activation(self.linear1(x)))
        return self.norm(x + self.dropout(self.linear2(hidden)))
