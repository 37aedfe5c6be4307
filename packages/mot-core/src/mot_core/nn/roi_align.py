"""RoIAlign: features of boxes, sampled bilinearly on a regular grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align(
    features: Tensor, boxes_xyxy: Tensor, images: Tensor, stride: float, size: int = 7, samples: int = 2
) -> Tensor:
    r"""Return the mean of bilinear samples in each of ``size x size`` bins of a box (He et al., ICCV 2017, section 3).

    With the box ``(x_0, y_0, x_1, y_1)`` and ``n = size * samples``, the samples of a row are at

    .. math::

        x_j = \left(x_0 + \tfrac{j + 1/2}{n} (x_1 - x_0)\right) / \mathrm{stride} - \tfrac12, \quad j = 0 \dots n - 1

    in cells of the map, where cell ``i`` has its center at ``i``. Within one cell of the border, the values of the
    border continue; farther outside, the map is 0. Differentiable with respect to features and boxes.

    Half precision is computed in float32 and returned in the dtype of ``features``.

    Args:
        features: Feature maps of shape ``(B, C, h, w)``.
        boxes_xyxy: Corners of ``N`` boxes in pixels of the network input, ``(N, 4)``.
        images: Row of the image of each box in ``features``, ``(N,)`` int64.
        stride: Pixels per cell of the map.
        size: Number of bins per side.
        samples: Number of samples per side of a bin.

    Returns:
        Tensor of shape ``(N, C, size, size)``.

    Raises:
        ValueError: If the shapes do not match, or an image does not exist.

    >>> ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    >>> roi_align(ramp, torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([0]), stride=8, size=2)[0, 0]
    tensor([[1.5000, 3.5000],
            [1.5000, 3.5000]])
    """
    if features.ndim != 4 or boxes_xyxy.shape != (len(images), 4):
        raise ValueError(
            "features, boxes_xyxy and images: expected shapes (B, C, h, w), (N, 4) and (N,), got "
            f"{tuple(features.shape)}, {tuple(boxes_xyxy.shape)} and {tuple(images.shape)}"
        )
    if len(images) and not 0 <= int(images.min()) <= int(images.max()) < len(features):
        raise ValueError(
            f"images: expected rows 0 to {len(features) - 1} of features, got {int(images.min())} to "
            f"{int(images.max())}"
        )
    channels, height, width = features.shape[1:]
    if not len(images):  # keep the graph connected
        return (features.sum() * 0 + boxes_xyxy.sum() * 0).to(features.dtype).expand(0, channels, size, size)
    wide = torch.promote_types(features.dtype, torch.float32)
    order = torch.argsort(images, stable=True)  # one call of grid_sample per image, without copies of its maps
    counts = torch.bincount(images, minlength=len(features)).tolist()
    xs, ys = _positions(boxes_xyxy[order].to(wide), stride, size * samples)
    inside = ((xs >= -1) & (xs <= width))[:, None, :] & ((ys >= -1) & (ys <= height))[:, :, None]
    # align_corners=False: -1 and 1 are the outer borders of the map.
    columns, rows = (2 * xs + 1) / width - 1, (2 * ys + 1) / height - 1
    number = size * samples
    grid = torch.stack([columns[:, None, :].expand(-1, number, -1), rows[:, :, None].expand(-1, -1, number)], -1)
    pooled = []
    for maps, part in zip(features.to(wide), torch.split(grid, counts), strict=True):
        if len(part):
            flat = F.grid_sample(maps[None], part.flatten(0, 1)[None], padding_mode="border", align_corners=False)
            pooled.append(flat[0].view(channels, len(part), number, number).transpose(0, 1))
    values = torch.cat(pooled) * inside[:, None]
    result = F.avg_pool2d(values, samples)
    return result[torch.argsort(order)].to(features.dtype)


def _positions(boxes_xyxy: Tensor, stride: float, number: int) -> tuple[Tensor, Tensor]:
    """Return columns and rows ``(N, number)`` of the samples, in cells.

    >>> _positions(torch.tensor([[8.0, 0.0, 24.0, 16.0]]), 8, 2)
    (tensor([[1., 2.]]), tensor([[0., 1.]]))
    """
    steps = (torch.arange(number, device=boxes_xyxy.device, dtype=boxes_xyxy.dtype) + 0.5) / number
    corners = boxes_xyxy / stride
    points = corners[:, None, :2] + steps[:, None] * (corners[:, 2:] - corners[:, :2])[:, None] - 0.5
    return points[..., 0], points[..., 1]
