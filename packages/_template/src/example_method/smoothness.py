"""The example: tracks should not jerk. A function first, and a module around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def track_smoothness(boxes_cxcywh: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared acceleration of the centres of tracks, a scalar that can be differentiated.

    Args:
        boxes_cxcywh: boxes of ``N`` tracks over ``T`` frames, ``(T, N, 4)``, in any unit of length.
        valid: where a track has a box, boolean ``(T, N)``; all by default. Other boxes have no influence.

    Returns:
        The mean over all triples of neighbouring frames that are valid, in squared units of length per frame squared;
        0 where there is none.

    Raises:
        ValueError: a shape is not as above.

    >>> boxes = torch.tensor([0.0, 1.0, 4.0]).reshape(3, 1, 1).expand(3, 1, 4)
    >>> track_smoothness(boxes).item()
    8.0
    """
    if boxes_cxcywh.ndim != 3 or boxes_cxcywh.shape[-1] != 4:
        raise ValueError(f"boxes_cxcywh must have shape (T, N, 4), got {tuple(boxes_cxcywh.shape)}")
    if valid is None:
        valid = torch.ones(boxes_cxcywh.shape[:2], dtype=torch.bool, device=boxes_cxcywh.device)
    if valid.shape != boxes_cxcywh.shape[:2]:
        raise ValueError(f"valid must have shape {tuple(boxes_cxcywh.shape[:2])}, got {tuple(valid.shape)}")
    # where(), not a product: padding may hold NaN, and NaN times 0 is NaN.
    centers = boxes_cxcywh[..., :2].where(valid[..., None], 0)
    acceleration = centers[2:] - 2 * centers[1:-1] + centers[:-2]
    counted = valid[2:] & valid[1:-1] & valid[:-2]
    return (acceleration.square().sum(-1) * counted).sum() / counted.sum().clamp(min=1)


class TrackSmoothness(nn.Module):
    """:func:`track_smoothness` times a weight.

    >>> boxes = torch.tensor([0.0, 1.0, 4.0]).reshape(3, 1, 1).expand(3, 1, 4)
    >>> TrackSmoothness(weight=0.5)(boxes).item()
    4.0
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, boxes_cxcywh: Tensor, valid: Tensor | None = None) -> Tensor:
        """The weighted loss; arguments as in :func:`track_smoothness`."""
        return self.weight * track_smoothness(boxes_cxcywh, valid)

    def extra_repr(self) -> str:
        """The arguments, for ``print(model)``."""
        return f"weight={self.weight}"
