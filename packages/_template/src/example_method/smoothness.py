"""Example loss: smoothness of tracks, as a function and a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def track_smoothness(boxes_cxcywh: Tensor, valid: Tensor | None = None) -> Tensor:
    """Compute the mean squared acceleration of track centers, a differentiable scalar.

    Args:
        boxes_cxcywh: Boxes of ``N`` tracks in ``T`` frames, of shape ``(T, N, 4)``, in any unit of length.
        valid: Boolean mask ``(T, N)`` of boxes that exist. Default: all. Other boxes have no influence.

    Returns:
        Mean over all valid triples of consecutive frames, in squared length per frame to the fourth power; 0 if there
        are none.

    Raises:
        ValueError: If a shape does not match.

    >>> boxes = torch.tensor([0.0, 1.0, 4.0]).reshape(3, 1, 1).expand(3, 1, 4)
    >>> track_smoothness(boxes).item()
    8.0
    """
    if boxes_cxcywh.ndim != 3 or boxes_cxcywh.shape[-1] != 4:
        raise ValueError(f"boxes_cxcywh: expected shape (T, N, 4), got {tuple(boxes_cxcywh.shape)}")
    if valid is None:
        valid = torch.ones(boxes_cxcywh.shape[:2], dtype=torch.bool, device=boxes_cxcywh.device)
    if valid.shape != boxes_cxcywh.shape[:2]:
        raise ValueError(f"valid: expected shape {tuple(boxes_cxcywh.shape[:2])}, got {tuple(valid.shape)}")
    # where() instead of a product, because padding may be NaN, and NaN times 0 is NaN.
    centers = boxes_cxcywh[..., :2].where(valid[..., None], 0)
    acceleration = centers[2:] - 2 * centers[1:-1] + centers[:-2]
    counted = valid[2:] & valid[1:-1] & valid[:-2]
    return (acceleration.square().sum(-1) * counted).sum() / counted.sum().clamp(min=1)


class TrackSmoothness(nn.Module):
    """Module form of :func:`track_smoothness`.

    Args:
        weight: Weight of the loss.

    >>> boxes = torch.tensor([0.0, 1.0, 4.0]).reshape(3, 1, 1).expand(3, 1, 4)
    >>> TrackSmoothness(weight=0.5)(boxes).item()
    4.0
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, boxes_cxcywh: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the weighted loss; arguments as in :func:`track_smoothness`."""
        return self.weight * track_smoothness(boxes_cxcywh, valid)

    def extra_repr(self) -> str:
        """Return the arguments for ``print(model)``."""
        return f"weight={self.weight}"
