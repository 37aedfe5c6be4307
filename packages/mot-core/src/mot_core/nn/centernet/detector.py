"""One-stage CenterNet on a feature pyramid, the detector of GTR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.backbones.dla import DLA, DLANorm
from mot_core.nn.centernet.pyramid import TopDownPyramid
from mot_core.nn.dense import DenseOutput
from mot_core.nn.detr.pyramid import flatten_levels, resize_mask
from mot_core.nn.yolox.head import cell_grid
from mot_core.structures import FeaturePyramid

PRIOR = 0.01  # initial probability of a center
LARGEST = 8.0  # exponent of the largest distance, e^8 = 2,981 strides


@dataclass(frozen=True, eq=False)
class CenterNetOutput(DenseOutput):
    """Predictions of all cells of all levels, fine to coarse and row by row.

    Attributes:
        cells: Column and row of every cell, of shape ``(A, 2)``.
        strides: Stride of every cell in pixels, of shape ``(A,)``.
    """

    cells: Tensor
    strides: Tensor


class CenterHead(nn.Module):
    """Predict a heat map of centers and the distances to the four sides of the box, shared by all levels.

    Args:
        channels: Channels of the pyramid and of the tower.
        strides: Strides of the levels in pixels.
        num_classes: Number of classes.
        depth: Number of 3x3 convolutions before the predictions.

    >>> head = CenterHead(16, (8, 16))
    >>> output = head([torch.zeros(1, 16, 4, 6), torch.zeros(1, 16, 2, 3)])
    >>> output.boxes_cxcywh.shape, round(output.logits[0, 0].sigmoid().item(), 2)
    (torch.Size([1, 30, 4]), 0.01)
    """

    def __init__(self, channels: int, strides: Sequence[int], num_classes: int = 1, depth: int = 4) -> None:
        super().__init__()
        self.strides = tuple(strides)
        layers: list[nn.Module] = []
        for _ in range(depth):
            groups = math.gcd(32, channels // 4)
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(groups, channels), nn.ReLU()]
        self.tower = nn.Sequential(*layers)
        self.heat_head = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box_head = nn.Conv2d(channels, 4, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(self.strides)))
        for layer in (self.heat_head, self.box_head):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.heat_head.bias, -math.log(1 / PRIOR - 1))  # type: ignore[arg-type]
        nn.init.constant_(self.box_head.bias, math.log(2.0))  # type: ignore[arg-type]  # boxes of four strides

    def forward(self, levels: Sequence[Tensor]) -> CenterNetOutput:
        """Predict from the levels ``(B, C, h, w)`` of the pyramid."""
        towers = [self.tower(level) for level in levels]
        logits = flatten_levels([self.heat_head(tower) for tower in towers])
        sides = [self.box_head(tower) * scale for tower, scale in zip(towers, self.scales, strict=True)]
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        distances = flatten_levels(sides)
        cells, strides = cell_grid(sizes, self.strides, distances)
        return CenterNetOutput(decode_distances(distances, cells, strides), logits, None, cells, strides)


def decode_distances(distances: Tensor, cells: Tensor, strides: Tensor) -> Tensor:
    """Return boxes as center and size in pixels, from the logarithms of the distances to left, top, right and bottom.

    The distances are ``exp(d) stride`` from the center of the cell. Half precision is computed in float32.

    Args:
        distances: Predictions of shape ``(B, A, 4)``.
        cells: Column and row of the cells, of shape ``(A, 2)``.
        strides: Strides of the cells, of shape ``(A,)``.

    >>> decode_distances(torch.zeros(1, 1, 4), torch.tensor([[3.0, 2.0]]), torch.tensor([8.0]))
    tensor([[[28., 20., 16., 16.]]])
    """
    if distances.dtype in (torch.float16, torch.bfloat16):
        distances, cells, strides = distances.float(), cells.float(), strides.float()
    near, far = (distances.clamp(max=LARGEST).exp() * strides[:, None]).chunk(2, -1)
    centers = (cells + 0.5) * strides[:, None]
    return torch.cat([centers + (far - near) / 2, near + far], -1)


class CenterNet(nn.Module):
    """CenterNet on the pyramid of a DLA network (Zhou et al. 2021, arXiv:2103.07461, section 4; first stage only).

    Args:
        size: Size of the backbone, "34" or "micro".
        num_classes: Number of classes.
        channels: Channels of the pyramid.
        norm: Normalization of the backbone, "batch" or "group".
        extra_levels: Number of levels coarser than stride 32.
        head_depth: Number of convolutions of the head before the predictions.

    >>> with torch.device("meta"):  # shapes only
    ...     detector = CenterNet()
    >>> round(sum(parameter.numel() for parameter in detector.parameters()) / 1e6, 2)
    20.78
    """

    def __init__(
        self,
        size: Literal["34", "micro"] = "34",
        num_classes: int = 1,
        channels: int = 256,
        *,
        norm: DLANorm = "batch",
        extra_levels: int = 2,
        head_depth: int = 4,
    ) -> None:
        super().__init__()
        self.backbone = DLA(size, norm)
        self.pyramid = TopDownPyramid(self.backbone.channels[1:], channels, extra_levels)
        strides = self.backbone.strides[1:]
        self.strides = (*strides, *(strides[-1] * 2 ** (index + 1) for index in range(extra_levels)))
        self.head = CenterHead(channels, self.strides, num_classes, head_depth)
        self.num_classes = num_classes
        self.channels = (channels,) * len(self.strides)

    def features(self, images: Tensor, padding: Tensor | None = None) -> FeaturePyramid:
        """Return the feature pyramid of images.

        Args:
            images: Normalized images of shape ``(B, 3, H, W)``, extended by zeros to multiples of 32.
            padding: True where an image is padded, ``(B, H, W)`` bool. None for images without padding.
        """
        images, padding = extend(images, padding, 32)
        levels = self.pyramid(self.backbone(images)[1:])
        masks = tuple(resize_mask(padding, (level.shape[-2], level.shape[-1])) for level in levels)
        return FeaturePyramid(tuple(levels), masks)

    def forward(self, images: Tensor) -> CenterNetOutput:
        """Detect in normalized images ``(B, 3, H, W)``."""
        output: CenterNetOutput = self.head(self.features(images).levels)
        return output


def extend(images: Tensor, padding: Tensor | None, multiple: int) -> tuple[Tensor, Tensor]:
    """Extend images and padding masks at the right and bottom, so that their sides are multiples of a number.

    >>> images, padding = extend(torch.zeros(1, 3, 30, 64), None, 32)
    >>> images.shape, padding[0, :, 0].sum()
    (torch.Size([1, 3, 32, 64]), tensor(2))
    """
    if padding is None:
        padding = torch.zeros(len(images), *images.shape[-2:], dtype=torch.bool, device=images.device)
    more = (0, -images.shape[-1] % multiple, 0, -images.shape[-2] % multiple)
    return (F.pad(images, more), F.pad(padding, more, value=True)) if any(more) else (images, padding)
