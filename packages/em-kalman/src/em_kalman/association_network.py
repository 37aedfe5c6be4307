"""Association network: a small MLP that maps the features of a pair of boxes to a logit."""

from __future__ import annotations

from torch import Tensor, nn


class AssociationNetwork(nn.Module):
    """Map pair features to the logit of both boxes showing the same object.

    ::

        logit = w2 . relu(W1 x + b1) + b2

    Li et al. (arXiv 2411.11514) use ``in_dim=5`` and ``hidden=5``, which are 36 parameters.

    Args:
        in_dim: Number of pair features.
        hidden: Number of hidden units; 5 in the authors' code.

    >>> sum(parameter.numel() for parameter in AssociationNetwork(hidden=5).parameters())
    36
    """

    def __init__(self, in_dim: int = 5, hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(in_dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(..., N, M, in_dim)`` to logits ``(..., N, M)``, in the precision of the network."""
        logits: Tensor = self.layers(features.to(next(self.parameters()).dtype))
        return logits[..., 0]
