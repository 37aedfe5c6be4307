"""Feature pyramid with levels P3 to P7."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class TopDownPyramid(nn.Module):
    """Feature pyramid network with further levels of stride 2 (Lin et al., CVPR 2017; Lin et al., ICCV 2017).

    Args:
        in_channels: Channels of the levels of the backbone, fine to coarse.
        channels: Channels of all levels of the pyramid.
        extra_levels: Number of further coarse levels, each a strided convolution of the one before.

    >>> import torch
    >>> levels = [torch.zeros(1, 8 * 2**i, 8 // 2**i, 12 // 2**i) for i in range(3)]
    >>> [tuple(level.shape) for level in TopDownPyramid((8, 16, 32), 16, 1)(levels)]
    [(1, 16, 8, 12), (1, 16, 4, 6), (1, 16, 2, 3), (1, 16, 1, 2)]
    """

    def __init__(self, in_channels: Sequence[int], channels: int, extra_levels: int = 2) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.extra = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(extra_levels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map the levels of the backbone, fine to coarse, to all levels of the pyramid."""
        merged = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        for index in range(len(merged) - 2, -1, -1):
            finer, coarser = merged[index], merged[index + 1]
            merged[index] = finer + F.interpolate(coarser, size=finer.shape[-2:])
        outputs: list[Tensor] = [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]
        for index, layer in enumerate(self.extra):
            outputs.append(layer(F.relu(outputs[-1]) if index else outputs[-1]))
        return outputs
