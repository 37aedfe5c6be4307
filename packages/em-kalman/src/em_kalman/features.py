"""Dimensionless features of a pair of boxes, the input of the association network."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_SIDE = 1e-3  # pixels


def pairwise_box_features(earlier_xyxy: Tensor, later_xyxy: Tensor, *, inclusive: bool = True) -> Tensor:
    """Compute the five features of all pairs of boxes of two frames.

    ::

        f0 = 2 (bottom1 - bottom2) / (h1 + h2)      f2 = log(h1 / h2)
        f1 = 2 (left1 - left2) / (h1 + h2)          f3 = log(w1 / w2)      f4 = IoU

    Sides are clamped to at least 0.001 pixels. These are the features of the code of Li et al. (arXiv 2411.11514).

    Args:
        earlier_xyxy: Boxes of the earlier frame, or of tracks, in pixels, ``(..., N, 4)``.
        later_xyxy: Boxes of the later frame in pixels, ``(..., M, 4)``.
        inclusive: Whether the last pixel belongs to a box when the IoU is computed, as in the authors' code. This makes
            the IoU depend slightly on the resolution.

    Returns:
        Features ``(..., N, M, 5)``.

    >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    >>> pairwise_box_features(boxes, boxes + torch.tensor([0.0, 10.0, 0.0, 10.0]))
    tensor([[[-0.5000,  0.0000,  0.0000,  0.0000,  0.3548]]])
    """
    one, two = earlier_xyxy[..., :, None, :], later_xyxy[..., None, :, :]
    width1, height1 = _sides(one)
    width2, height2 = _sides(two)
    scale = 2 / (height1 + height2)
    features = [
        scale * (one[..., 3] - two[..., 3]),
        scale * (one[..., 0] - two[..., 0]),
        (height1 / height2).log(),
        (width1 / width2).log(),
    ]
    extra = 1.0 if inclusive else 0.0
    low, high = torch.maximum(one[..., :2], two[..., :2]), torch.minimum(one[..., 2:], two[..., 2:])
    overlap = (high - low + extra).clamp(min=0).prod(-1)
    area1, area2 = (width1 + extra) * (height1 + extra), (width2 + extra) * (height2 + extra)
    return torch.stack([*features, overlap / (area1 + area2 - overlap)], -1)


def _sides(boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    sides = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=SMALLEST_SIDE)
    return sides[..., 0], sides[..., 1]
