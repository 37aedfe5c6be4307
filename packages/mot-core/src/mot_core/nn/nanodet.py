"""NanoDet-g, a small anchor-free detector of 80 COCO classes (RangiLyu/nanodet, model nanodet-g)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES = (8, 16, 32)
NUM_CLASSES = 80
BINS = 11
"""Bins of the distribution of a distance: 0 to 10 strides."""


class NanoDet(nn.Module):
    """NanoDet-g: a CSP backbone, bilinear paths down and up a pyramid, and one 3x3 convolution per head.

    Batch normalization is folded into the convolutions, as in released weights for inference.

    >>> logits, distances = NanoDet()(torch.zeros(2, 3, 416, 416))
    >>> logits.shape, distances.shape, sum(one.numel() for one in NanoDet().parameters())
    (torch.Size([2, 3549, 80]), torch.Size([2, 3549, 4]), 3786068)
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 32, stride=2)
        self.stages = nn.ModuleList(
            [_CSPStage(32, 1, 1), _CSPStage(64, 2, 2), _CSPStage(128, 2, 2), _CSPStage(256, 3, 2)]
        )
        self.laterals = nn.ModuleList([nn.Conv2d(width, 128, 1) for width in (128, 256, 512)])
        outputs = NUM_CLASSES + 4 * BINS
        self.heads = nn.ModuleList([nn.Sequential(_convolution(128, 128), nn.Conv2d(128, outputs, 1)) for _ in STRIDES])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class logits and the distances of all cells, row by row, from stride 8 to stride 32.

        Args:
            images: Normalized images with channels blue, green, red, ``(B, 3, H, W)``; sides are multiples of 32.

        Returns:
            logits: ``(B, A, 80)``.
            distances: Distances from the center of the cell to the left, top, right and bottom side of the box, in
                strides, ``(B, A, 4)``: the mean of the predicted distribution (generalized focal loss).
        """
        x = functional.max_pool2d(self.stem(images), 3, 2, 1)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        fine, middle, coarse = (lateral(level) for lateral, level in zip(self.laterals, levels[1:], strict=True))
        middle = middle + _resize(coarse, 2)
        fine = fine + _resize(middle, 2)
        middle = middle + _resize(fine, 0.5)
        coarse = coarse + _resize(middle, 0.5)
        rows = [head(level).flatten(2).mT for head, level in zip(self.heads, (fine, middle, coarse), strict=True)]
        outputs = torch.cat(rows, 1)
        logits, bins = outputs[..., :NUM_CLASSES], outputs[..., NUM_CLASSES:]
        share = bins.reshape(*bins.shape[:2], 4, BINS).softmax(-1)
        return logits, (share * torch.arange(BINS, dtype=share.dtype, device=share.device)).sum(-1)

    def convolutions(self) -> list[nn.Conv2d]:
        """Return all convolutions in the order in which they run; ``laterals`` follow the backbone."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]


class _CSPStage(nn.Module):
    """Cross-stage partial block: ``width`` channels in, twice as many out."""

    def __init__(self, width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.enter = _convolution(width, width, stride=stride)
        self.blocks = nn.Sequential(*[_CSPBlock(width) for _ in range(depth)])
        self.leave = _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat([self.leave(self.blocks(x)), x], 1)


class _CSPBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width // 2)
        self.second = _convolution(width // 2, width // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.cat([self.second(x), x], 1)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.1))


def _resize(x: Tensor, factor: float) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
