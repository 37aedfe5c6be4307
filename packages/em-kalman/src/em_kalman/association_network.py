"""The association network: a small MLP that gives every pair of boxes a logit."""

from __future__ import annotations

from torch import Tensor, nn


class AssociationNetwork(nn.Module):
    """Features of a pair to the logit of being the same object (specification 2.2).

    Args:
        in_dim: number of features.
        hidden: hidden units; 5 in the authors' code.

    >>> sum(parameter.numel() for parameter in AssociationNetwork(hidden=5).parameters())
    36
    """

    def __init__(self, in_dim: int = 5, hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """``(..., N, M, in_dim)`` to logits ``(..., N, M)``, in the precision of the network."""
        logits: Tensor = self.layers(features.to(next(self.parameters()).dtype))
        return logits[..., 0]
