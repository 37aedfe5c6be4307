"""The YOLOX detector."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.detr.pyramid import resize_mask
from mot_core.nn.yolox.backbone import CSPDarknet, PathAggregation
from mot_core.nn.yolox.blocks import Norm
from mot_core.nn.yolox.head import DecoupledHead, YOLOXOutput
from mot_core.structures import FeaturePyramid

Size = Literal["micro", "nano", "tiny", "s", "m", "l", "x"]
SIZES: dict[str, tuple[float, float]] = {
    "micro": (0.33, 0.125),
    "nano": (0.33, 0.25),
    "tiny": (0.33, 0.375),
    "s": (0.33, 0.5),
    "m": (0.67, 0.75),
    "l": (1.0, 1.0),
    "x": (1.33, 1.25),
}
"""Factors of depth and width. All are the published ones, except for "micro", which trains on a CPU."""


class YOLOX(nn.Module):
    """YOLOX, an anchor-free detector (Ge et al. 2021, arXiv:2107.08430).

    Args:
        size: Key of :data:`SIZES`; "nano" has separable convolutions.
        num_classes: Number of classes.
        embed_dim: Channels of the embeddings of an additional branch. 0 for none, as published.
        norm: "batch", with the released statistics, or "group", to train from random weights with small batches.

    >>> with torch.device("meta"):  # shapes only
    ...     detectors = [YOLOX(size) for size in ("nano", "s", "x")]
    >>> [round(sum(p.numel() for p in detector.parameters()) / 1e6, 2) for detector in detectors]
    [0.9, 8.94, 99.0]
    """

    def __init__(self, size: Size = "x", num_classes: int = 1, embed_dim: int = 0, *, norm: Norm = "batch") -> None:
        super().__init__()
        depth, width = SIZES[size]
        separable = size == "nano"
        self.backbone = CSPDarknet(depth, width, separable=separable, norm=norm)
        self.pyramid = PathAggregation(self.backbone.channels, depth, separable=separable, norm=norm)
        self.head = DecoupledHead(
            self.backbone.channels, self.backbone.strides, int(256 * width), num_classes, embed_dim,
            separable=separable, norm=norm,
        )  # fmt: skip
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.strides, self.channels = self.backbone.strides, self.backbone.channels

    def features(self, images: Tensor, padding: Tensor | None = None) -> FeaturePyramid:
        """Return the feature pyramid of images.

        Args:
            images: Normalized images of shape ``(B, 3, H, W)``, extended by zeros to multiples of 32.
            padding: True where an image is padded, ``(B, H, W)`` bool. None for images without padding.
        """
        more = [-images.shape[-1] % self.strides[-1], -images.shape[-2] % self.strides[-1]]
        if padding is None:
            padding = torch.zeros(len(images), *images.shape[-2:], dtype=torch.bool, device=images.device)
        if any(more):
            padding = F.pad(padding, (0, more[0], 0, more[1]), value=True)
            images = F.pad(images, (0, more[0], 0, more[1]))
        levels = self.pyramid(self.backbone(images))
        masks = tuple(resize_mask(padding, (level.shape[-2], level.shape[-1])) for level in levels)
        return FeaturePyramid(tuple(levels), masks)

    def forward(self, images: Tensor) -> YOLOXOutput:
        """Detect in normalized images ``(B, 3, H, W)``."""
        output: YOLOXOutput = self.head(self.features(images).levels)
        return output
