"""A small backbone with group normalization that trains from scratch on one CPU core."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.backbones.base import Backbone


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group normalization and a shortcut.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        stride: Stride of the first convolution and the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(out_channels // 4, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out_channels // 4, out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, h, w)`` to ``(B, out_channels, h / stride, w / stride)``."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SmallBackbone(Backbone):
    """Four residual blocks with maps of strides 8, 16 and 32.

    Group normalization does not depend on the batch, so training works with one clip at a time. With 16 channels the
    backbone has 0.3 million parameters, and a detector of 64 channels around it about half a million.

    Args:
        width: Number of channels at stride 4, a multiple of 4. It doubles with every stride.

    >>> import torch
    >>> backbone = SmallBackbone()
    >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 96, 160))]
    [(1, 32, 12, 20), (1, 64, 6, 10), (1, 128, 3, 5)]
    """

    strides = (8, 16, 32)

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"width must be a multiple of 4, got {width}")
        self.channels = (2 * width, 4 * width, 8 * width)
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.GroupNorm(width // 4, width)
        self.blocks = nn.ModuleList(
            ResidualBlock(a, b, stride=2) for a, b in itertools.pairwise((width, width, *self.channels))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(B, 3, H, W)`` to three feature maps."""
        x = F.relu(self.stem_norm(self.stem(images)))
        levels = []
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        return levels[1:]
