"""Convolutional blocks of YOLOX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["batch", "group"]
MakeConv = Callable[..., nn.Module]
"""Function ``(in_channels, out_channels, kernel, stride=1)`` that creates a convolution, plain or separable."""


class ConvNorm(nn.Module):
    """Convolution, normalization and SiLU, ``(B, in, h, w)`` to ``(B, out, h / stride, w / stride)``.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel: Size of the kernel, odd.
        stride: Stride.
        groups: Number of groups of the convolution.
        norm: "batch", with the released statistics, or "group", which depends on neither the batch nor the number of
            processes.

    >>> ConvNorm(3, 8, 3, stride=2)(torch.zeros(1, 3, 6, 10)).shape
    torch.Size([1, 8, 3, 5])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module
        if norm == "group":
            self.norm = nn.GroupNorm(max(1, out_channels // 8), out_channels)
        else:
            self.norm = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated maps."""
        return F.silu(self.norm(self.conv(x)))


class SeparableConv(nn.Module):
    """Depthwise and pointwise convolution, each with normalization and SiLU, in place of a full one (YOLOX-nano).

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        kernel: Size of the depthwise kernel, odd.
        stride: Stride of the depthwise convolution.
        norm: Normalization, as in :class:`ConvNorm`.

    >>> sum(parameter.numel() for parameter in SeparableConv(8, 16, 3).parameters())
    248
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, norm: Norm = "batch") -> None:
        super().__init__()
        self.depthwise = ConvNorm(in_channels, in_channels, kernel, stride, groups=in_channels, norm=norm)
        self.pointwise = ConvNorm(in_channels, out_channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated maps."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class Residual(nn.Module):
    """A 1x1 and a 3x3 convolution of constant width, with an optional shortcut.

    Args:
        channels: Number of channels.
        shortcut: Whether the input is added to the result.
        conv: Function that creates the 3x3 convolution.
        norm: Normalization, as in :class:`ConvNorm`.
    """

    def __init__(self, channels: int, shortcut: bool, conv: MakeConv, norm: Norm) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 1, norm=norm)
        self.conv2 = conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to the same shape."""
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CrossStage(nn.Module):
    """Cross-stage partial block: half of the channels run through residual blocks (Wang et al., CVPR workshops 2020).

    ``merge([blocks(main(x)); side(x)])`` with 1x1 convolutions ``main``, ``side`` and ``merge``.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        depth: Number of residual blocks.
        shortcut: Whether the residual blocks have shortcuts.
        conv: Function that creates their 3x3 convolutions.
        norm: Normalization, as in :class:`ConvNorm`.

    >>> CrossStage(8, 16, 2, True, ConvNorm, "batch")(torch.zeros(1, 8, 4, 4)).shape
    torch.Size([1, 16, 4, 4])
    """

    def __init__(
        self, in_channels: int, out_channels: int, depth: int, shortcut: bool, conv: MakeConv, norm: Norm
    ) -> None:
        super().__init__()
        half = out_channels // 2
        self.main = ConvNorm(in_channels, half, 1, norm=norm)
        self.side = ConvNorm(in_channels, half, 1, norm=norm)
        self.merge = ConvNorm(2 * half, out_channels, 1, norm=norm)
        self.blocks = nn.Sequential(*(Residual(half, shortcut, conv, norm) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in, h, w)`` to ``(B, out, h, w)``."""
        y: Tensor = self.merge(torch.cat([self.blocks(self.main(x)), self.side(x)], 1))
        return y


class PooledContext(nn.Module):
    """Maximum over windows of several sizes around every cell, concatenated (spatial pyramid pooling, He et al. 2014).

    Args:
        channels: Number of input and output channels.
        norm: Normalization, as in :class:`ConvNorm`.
        windows: Sizes of the windows, odd.
    """

    def __init__(self, channels: int, norm: Norm, windows: tuple[int, ...] = (5, 9, 13)) -> None:
        super().__init__()
        self.windows = windows
        self.reduce = ConvNorm(channels, channels // 2, 1, norm=norm)
        self.merge = ConvNorm(channels // 2 * (1 + len(windows)), channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to the same shape."""
        x = self.reduce(x)
        pooled = [F.max_pool2d(x, window, 1, window // 2) for window in self.windows]
        y: Tensor = self.merge(torch.cat([x, *pooled], 1))
        return y


def space_to_depth(images: Tensor) -> Tensor:
    """Move each 2x2 block of pixels into channels, ``(B, C, H, W)`` to ``(B, 4C, H/2, W/2)``.

    The order within a block is top left, bottom left, top right, bottom right.

    >>> space_to_depth(torch.tensor([[[[1, 2], [3, 4]]]])).flatten()
    tensor([1, 3, 2, 4])
    """
    rows = [(row, column) for column in (0, 1) for row in (0, 1)]
    return torch.cat([images[..., row::2, column::2] for row, column in rows], 1)
