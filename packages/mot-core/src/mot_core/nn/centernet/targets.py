"""Targets and losses of detectors that find objects by their centers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHA, BETA = 2.0, 4.0  # exponents of the focal loss of CornerNet and CenterNet


def gaussian_radius(sizes: Tensor, overlap: float = 0.7) -> Tensor:
    r"""Return how far both corners of a box may move so that its IoU stays at least ``overlap``.

    The smallest of three cases (Law & Deng, ECCV 2018, section 3.2), for a box of width ``w`` and height ``h``: the
    box is shifted, ``(w - r)(h - r) / (2 w h - (w - r)(h - r)) = t``; both corners move inward,
    ``(w - 2 r)(h - 2 r) = t w h``; or both move outward, ``w h = t (w + 2 r)(h + 2 r)``.

    Args:
        sizes: Widths and heights, ``(..., 2)``.
        overlap: Smallest IoU ``t``.

    >>> gaussian_radius(torch.tensor([[10.0, 10.0]]))
    tensor([0.8167])
    """
    total, area = sizes.sum(-1), sizes.prod(-1)
    shifted = (total - (total**2 - 4 * area * (1 - overlap) / (1 + overlap)).clamp(min=0).sqrt()) / 2
    smaller = (total - (total**2 - 4 * area * (1 - overlap)).clamp(min=0).sqrt()) / 4
    larger = ((total**2 + 4 * area * (1 - overlap) / overlap).sqrt() - total) / 4
    return torch.stack([shifted, smaller, larger]).amin(0)


def center_cells(truth_cxcywh: Tensor, object_strides: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Return column and row ``(G, 2)`` of the cells with the centers of objects; centers outside move to the border.

    Args:
        truth_cxcywh: Boxes in pixels, ``(G, 4)``.
        object_strides: Stride of the map of each object, ``(G,)``.
        image_size: Height and width of the image in pixels.

    >>> center_cells(torch.tensor([[17.0, -3.0, 8.0, 8.0]]), torch.tensor([8.0]), (32, 32))
    tensor([[2., 0.]])
    """
    height, width = image_size
    limit = truth_cxcywh.new_tensor([width, height])
    last = torch.ceil(limit / object_strides[:, None]) - 1
    return (truth_cxcywh[:, :2] / object_strides[:, None]).floor().clamp(min=0).minimum(last)


def center_heat(
    truth_cxcywh: Tensor, centers: Tensor, object_strides: Tensor, cells: Tensor, strides: Tensor
) -> Tensor:
    r"""Return a Gaussian around the center of every object, ``(G, A)``: 1 at its cell, 0 on other levels.

    .. math::

        Y_{ga} = \exp\left(-\frac{|c_a - c_g|^2}{2 \sigma_g^2}\right), \quad \sigma_g = (2 r_g + 1) / 6

    with the radius ``r`` of :func:`gaussian_radius`, rounded down, and 0 farther than ``r`` from the center (Zhou et
    al. 2019, arXiv:1904.07850, section 3).

    Args:
        truth_cxcywh: Boxes in pixels, ``(G, 4)``.
        centers: Cells of the centers, ``(G, 2)``; see :func:`center_cells`.
        object_strides: Stride of the map of each object, ``(G,)``.
        cells: Column and row of all cells, ``(A, 2)``.
        strides: Strides of all cells, ``(A,)``.

    >>> cells, strides = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([8.0, 8.0])
    >>> box, stride = torch.tensor([[4.0, 4.0, 200.0, 200.0]]), torch.tensor([8.0])
    >>> center_heat(box, torch.zeros(1, 2), stride, cells, strides).round(decimals=2)
    tensor([[1.0000, 0.4900]])
    """
    radius = gaussian_radius(truth_cxcywh[:, 2:] / object_strides[:, None]).floor().clamp(min=0)
    sigma = (2 * radius + 1) / 6
    offset = cells[None] - centers[:, None]
    near = (offset.abs() <= radius[:, None, None]).all(-1) & (strides[None] == object_strides[:, None])
    return torch.exp(-offset.square().sum(-1) / (2 * sigma[:, None] ** 2)).where(near, 0)


def class_heat(heat: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the largest value of the objects of each class ``(A, K)``, from the heat of each object ``(G, A)``.

    >>> class_heat(torch.tensor([[0.2, 1.0], [0.5, 0.1]]), torch.tensor([1, 1]), 2)
    tensor([[0.0000, 0.5000],
            [0.0000, 1.0000]])
    """
    none = heat.new_zeros(1, heat.shape[1])
    return torch.stack([torch.cat([none, heat[labels == one]]).amax(0) for one in range(num_classes)], 1)


def center_focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    r"""Return the sum of the focal loss of heat maps (Law & Deng, ECCV 2018, eq. 1).

    .. math::

        -\sum_{Y = 1} (1 - p)^2 \log p \;-\; \sum_{Y < 1} (1 - Y)^4 p^2 \log (1 - p)

    Args:
        logits: Logits of ``p``, of any shape.
        heat: Targets ``Y`` in [0, 1], of the same shape.

    >>> round(center_focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0])).item(), 4)  # (ln 2) / 4 twice
    0.3466
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    probability, heat = wide.sigmoid(), heat.to(wide.dtype)
    found = (1 - probability) ** ALPHA * F.logsigmoid(wide)
    missed = (1 - heat) ** BETA * probability**ALPHA * F.logsigmoid(-wide)
    return -torch.where(heat == 1, found, missed).sum()
