"""Backbone and feature pyramid of YOLOX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.backbones import Backbone
from mot_core.nn.yolox.blocks import (
    ConvNorm,
    CrossStage,
    MakeConv,
    Norm,
    PooledContext,
    SeparableConv,
    space_to_depth,
)


def conv_maker(separable: bool, norm: Norm) -> MakeConv:
    """Return the function that creates convolutions of more than one cell: plain or separable ones."""
    return partial(SeparableConv if separable else ConvNorm, norm=norm)


class CSPDarknet(Backbone):
    """Backbone of YOLOX with maps of strides 8, 16 and 32 (Ge et al. 2021, arXiv:2107.08430).

    Four stages of a strided convolution and a :class:`CrossStage` block follow a stem on 2x2 blocks of pixels. The last
    stage has a :class:`PooledContext` in between.

    Args:
        depth: Factor of the number of residual blocks.
        width: Factor of the number of channels, 256, 512 and 1024 for 1.
        separable: Whether 3x3 convolutions are separable.
        norm: Normalization, "batch" or "group".

    >>> backbone = CSPDarknet(depth=0.33, width=0.25)
    >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 64, 96))]
    [(1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]
    """

    strides = (8, 16, 32)

    def __init__(
        self, depth: float = 1.0, width: float = 1.0, *, separable: bool = False, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        base, short = int(64 * width), max(round(3 * depth), 1)
        conv = conv_maker(separable, norm)
        self.channels = (4 * base, 8 * base, 16 * base)
        self.stem = ConvNorm(12, base, 3, norm=norm)
        self.stages = nn.ModuleList()
        for index, blocks in enumerate((short, 3 * short, 3 * short, short)):
            last, channels = index == 3, base * 2 ** (index + 1)
            parts = [conv(channels // 2, channels, 3, stride=2)]
            if last:
                parts.append(PooledContext(channels, norm))
            parts.append(CrossStage(channels, channels, blocks, not last, conv, norm))
            self.stages.append(nn.Sequential(*parts))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(B, 3, H, W)`` with sides divisible by 32 to three feature maps."""
        x = self.stem(space_to_depth(images))
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels[1:]


class PathAggregation(nn.Module):
    """Feature pyramid with a top-down and a bottom-up path (PAFPN; Liu et al., CVPR 2018, arXiv:1803.01534).

    Args:
        channels: Channels of the three levels, fine to coarse.
        depth: Factor of the number of residual blocks.
        separable: Whether 3x3 convolutions are separable.
        norm: Normalization, "batch" or "group".

    >>> levels = [torch.zeros(1, 8 * 2**i, 8 // 2**i, 12 // 2**i) for i in range(3)]
    >>> [tuple(level.shape) for level in PathAggregation((8, 16, 32), 0.33)(levels)]
    [(1, 8, 8, 12), (1, 16, 4, 6), (1, 32, 2, 3)]
    """

    def __init__(
        self, channels: tuple[int, ...], depth: float = 1.0, *, separable: bool = False, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        conv, blocks = conv_maker(separable, norm), max(round(3 * depth), 1)
        fine, middle, coarse = channels

        def block(inputs: int, outputs: int) -> CrossStage:
            return CrossStage(inputs, outputs, blocks, False, conv, norm)

        self.reduce = nn.ModuleList(
            [ConvNorm(coarse, middle, 1, norm=norm), ConvNorm(middle, fine, 1, norm=norm)]  # coarse to fine
        )
        self.down = nn.ModuleList([block(2 * middle, middle), block(2 * fine, fine)])
        self.stride = nn.ModuleList([conv(fine, fine, 3, stride=2), conv(middle, middle, 3, stride=2)])
        self.up = nn.ModuleList([block(2 * fine, middle), block(2 * middle, coarse)])

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map the three levels of the backbone, fine to coarse, to maps of the same shapes."""
        fine, middle, coarse = levels
        reduced = []
        x = coarse
        for reduce, block, finer in zip(self.reduce, self.down, (middle, fine), strict=True):
            reduced.append(reduce(x))
            x = block(torch.cat([F.interpolate(reduced[-1], scale_factor=2.0), finer], 1))
        outputs = [x]
        for stride, block, coarser in zip(self.stride, self.up, reversed(reduced), strict=True):
            x = block(torch.cat([stride(x), coarser], 1))
            outputs.append(x)
        return outputs
