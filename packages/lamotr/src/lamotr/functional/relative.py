"""Position and size of every object relative to every tracklet."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Difference: TypeAlias = Literal["signed", "scaled"]
"""Form of the difference of two boxes: plain, or in units of the tracklet's box."""
SMALLEST_SIDE = 1e-6  # lower bound of a side of a box in divisions and logarithms


def relative_boxes(objects_cxcywh: Tensor, tracklets_cxcywh: Tensor, mode: Difference = "signed") -> Tensor:
    r"""Compute the difference of all pairs of boxes (LA-MOTR, ICCV 2025, Section 3.2).

    .. math::

        D_{ij} = B^{obj}_i - B^{tck}_j

    The mode "scaled" does not depend on the size of the boxes or of the image: center differences are divided by the
    width and height of the tracklet, and sizes are compared by the logarithm of their ratio.

    Args:
        objects_cxcywh: Boxes of the objects of shape ``(..., M, 4)``.
        tracklets_cxcywh: Boxes of the tracklets of shape ``(..., K, 4)``, in the same frame and unit.
        mode: "signed" for the plain difference of the paper, or "scaled".

    Returns:
        Differences (center x, center y, width, height) of shape ``(..., M, K, 4)``.

    Raises:
        ValueError: If ``mode`` is unknown.

    >>> objects, tracklets = torch.tensor([[3.0, 2.0, 4.0, 2.0]]), torch.tensor([[1.0, 1.0, 2.0, 2.0]])
    >>> relative_boxes(objects, tracklets)[0, 0].tolist()
    [2.0, 1.0, 2.0, 0.0]
    >>> [round(value, 2) for value in relative_boxes(objects, tracklets, "scaled")[0, 0].tolist()]
    [1.0, 0.5, 0.69, 0.0]
    """
    objects, tracklets = objects_cxcywh[..., :, None, :], tracklets_cxcywh[..., None, :, :]
    if mode == "signed":
        return objects - tracklets
    if mode != "scaled":
        raise ValueError(f"mode: expected signed or scaled, got {mode!r}")
    size = tracklets[..., 2:].clamp(min=SMALLEST_SIDE)
    ratio = objects[..., 2:].clamp(min=SMALLEST_SIDE).log() - size.log()
    return torch.cat([(objects[..., :2] - tracklets[..., :2]) / size, ratio], -1)
