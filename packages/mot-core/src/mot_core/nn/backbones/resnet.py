"""ResNet-50 with the key names of released checkpoints, with frozen or live batch normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.backbones.base import Backbone


class FrozenBatchNorm(nn.Module):
    """Batch normalization with fixed statistics and gains; all are buffers, and none is trained or updated.

    Args:
        channels: Number of channels of the maps.

    >>> norm = FrozenBatchNorm(1)
    >>> norm.running_mean[:] = 3
    >>> round(norm(torch.full((1, 1, 1, 1), 5.0)).item(), 3)
    2.0
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize maps ``(B, C, h, w)``."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)


class Bottleneck(nn.Module):
    """Bottleneck block: 1x1, 3x3 (strided) and 1x1 convolutions with a shortcut (He et al. 2016, fig. 5).

    Args:
        in_channels: Number of input channels.
        width: Number of channels of the 3x3 convolution; the output has four times as many.
        stride: Stride of the 3x3 convolution and the shortcut.
        norm: Function that creates the normalization for a number of channels.
    """

    def __init__(self, in_channels: int, width: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, h, w)`` to ``(B, 4 * width, h / stride, w / stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(Backbone):
    """ResNet-50 without its classifier, with maps of strides 8, 16 and 32 (He et al., CVPR 2016, arXiv:1512.03385).

    Args:
        norm: "frozen" for fixed statistics (requires pretrained weights; random weights are not normalized at all), or
            "live" for batch normalization.
        frozen_stages: Number of stages without gradient, counted from the stem and followed by the four stages. The
            DETR family freezes 2, the stem and the first stage.

    >>> with torch.device("meta"):  # shapes only, no memory
    ...     backbone = ResNet50()
    >>> [tuple(level.shape) for level in backbone(torch.zeros(1, 3, 64, 96, device="meta"))]
    [(1, 512, 8, 12), (1, 1024, 4, 6), (1, 2048, 2, 3)]
    """

    channels = (512, 1024, 2048)
    strides = (8, 16, 32)

    def __init__(self, norm: Literal["frozen", "live"] = "frozen", frozen_stages: int = 2) -> None:
        super().__init__()
        if norm not in ("frozen", "live"):
            raise ValueError(f'norm must be "frozen" or "live", got {norm!r}')
        if not 0 <= frozen_stages <= 5:
            raise ValueError(f"frozen_stages must be 0 to 5 (the stem and four stages), got {frozen_stages}")
        make_norm: Callable[[int], nn.Module] = FrozenBatchNorm if norm == "frozen" else nn.BatchNorm2d
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = make_norm(64)
        self.layer1 = _stage(64, 64, 3, 1, make_norm)
        self.layer2 = _stage(256, 128, 4, 2, make_norm)
        self.layer3 = _stage(512, 256, 6, 2, make_norm)
        self.layer4 = _stage(1024, 512, 3, 2, make_norm)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        stages = ([self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], [self.layer4])
        for stage in stages[:frozen_stages]:
            for module in stage:
                module.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(B, 3, H, W)`` to maps of 512, 1024 and 2048 channels."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer1(F.max_pool2d(x, 3, stride=2, padding=1))
        levels = []
        for stage in (self.layer2, self.layer3, self.layer4):
            x = stage(x)
            levels.append(x)
        return levels


def _stage(in_channels: int, width: int, blocks: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride, norm)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1, norm) for _ in range(blocks - 1)))
