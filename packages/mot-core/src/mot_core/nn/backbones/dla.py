"""Deep Layer Aggregation, the backbone of CenterNet, FairMOT and GTR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.backbones.base import Backbone

DLANorm = Literal["batch", "group"]
DLA_CHANNELS: dict[str, tuple[int, ...]] = {
    "34": (16, 32, 64, 128, 256, 512),
    "micro": (8, 16, 24, 32, 48, 64),
}
"""Channels at strides 1, 2, 4, 8, 16 and 32. "34" is the published network; "micro" trains on a CPU."""


def make_norm(channels: int, norm: DLANorm) -> nn.Module:
    """Return a normalization layer: "batch", with the released statistics, or "group", independent of the batch."""
    return nn.GroupNorm(max(1, channels // 8), channels) if norm == "group" else nn.BatchNorm2d(channels)


class PlainConv(nn.Module):
    """Convolution, normalization and ReLU, ``(B, in, h, w)`` to ``(B, out, h / stride, w / stride)``.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel: Size of the kernel, odd.
        stride: Stride.
        norm: Normalization, "batch" or "group".

    >>> PlainConv(3, 8, 3, stride=2)(torch.zeros(1, 3, 6, 10)).shape
    torch.Size([1, 8, 3, 5])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, norm: DLANorm = "batch"
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.norm = make_norm(out_channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated maps."""
        return F.relu(self.norm(self.conv(x)))


class AggregationBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut that the surrounding tree provides.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        stride: Stride of the first convolution.
        norm: Normalization, "batch" or "group".
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: DLANorm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = make_norm(out_channels, norm)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = make_norm(out_channels, norm)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Map ``(B, in, h, w)`` to ``(B, out, h / stride, w / stride)``, the shape of ``shortcut``."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + shortcut)


class Tree(nn.Module):
    """Hierarchical aggregation: a binary tree of blocks, the outputs of which are merged by 1x1 convolutions.

    Args:
        depth: Depth of the tree; 1 for two blocks.
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        stride: Stride of the first block.
        with_input: Whether the input, at the stride of the output, is merged too.
        merged: Channels of further maps to merge, from trees above.
        norm: Normalization, "batch" or "group".
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        with_input: bool = False,
        merged: int = 0,
        norm: DLANorm = "batch",
    ) -> None:
        super().__init__()
        merged += in_channels if with_input else 0
        self.with_input, self.stride, self.depth = with_input, stride, depth
        self.project: nn.Module | None = None
        if depth == 1:
            self.tree1: nn.Module = AggregationBlock(in_channels, out_channels, stride, norm)
            self.tree2: nn.Module = AggregationBlock(out_channels, out_channels, 1, norm)
            self.root = PlainConv(2 * out_channels + merged, out_channels, 1, norm=norm)
            if in_channels != out_channels:
                self.project = nn.Sequential(
                    nn.Conv2d(in_channels, out_channels, 1, bias=False), make_norm(out_channels, norm)
                )
        else:
            self.tree1 = Tree(depth - 1, in_channels, out_channels, stride, norm=norm)
            self.tree2 = Tree(depth - 1, out_channels, out_channels, 1, merged=merged + out_channels, norm=norm)

    def forward(self, x: Tensor, merged: Sequence[Tensor] = ()) -> Tensor:
        """Map ``(B, in, h, w)`` to ``(B, out, h / stride, w / stride)``, merged with further maps of this shape."""
        bottom = F.max_pool2d(x, self.stride) if self.stride > 1 else x
        kept = [*merged, bottom] if self.with_input else list(merged)
        if self.depth > 1:
            first = self.tree1(x)
            result: Tensor = self.tree2(first, [*kept, first])
            return result
        first = self.tree1(x, bottom if self.project is None else self.project(bottom))
        second = self.tree2(first, first)
        merged_maps: Tensor = self.root(torch.cat([second, first, *kept], 1))
        return merged_maps


class DLA(Backbone):
    """Deep Layer Aggregation with maps of strides 4, 8, 16 and 32 (Yu et al., CVPR 2018, arXiv:1707.06484).

    Args:
        size: Key of :data:`DLA_CHANNELS`.
        norm: "batch", with the released statistics, or "group", to train from random weights with small batches.

    >>> backbone = DLA("micro", "group")
    >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 64, 96))]
    [(1, 24, 16, 24), (1, 32, 8, 12), (1, 48, 4, 6), (1, 64, 2, 3)]
    """

    strides = (4, 8, 16, 32)

    def __init__(self, size: Literal["34", "micro"] = "34", norm: DLANorm = "batch") -> None:
        super().__init__()
        widths = DLA_CHANNELS[size]
        self.channels = widths[2:]
        self.stem = PlainConv(3, widths[0], 7, norm=norm)
        self.level0 = PlainConv(widths[0], widths[0], 3, norm=norm)
        self.level1 = PlainConv(widths[0], widths[1], 3, 2, norm=norm)
        depths = (1, 2, 2, 1) if size == "34" else (1, 1, 1, 1)
        self.trees = nn.ModuleList(
            Tree(depth, widths[index + 1], widths[index + 2], 2, with_input=index > 0, norm=norm)
            for index, depth in enumerate(depths)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(B, 3, H, W)`` with sides divisible by 32 to four feature maps."""
        x = self.level1(self.level0(self.stem(images)))
        levels = []
        for tree in self.trees:
            x = tree(x)
            levels.append(x)
        return levels
