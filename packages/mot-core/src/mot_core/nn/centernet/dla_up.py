"""Iterative upsampling of the levels of a DLA network to stride 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.backbones.dla import DLANorm, make_norm
from mot_core.nn.centernet.deformable_conv import DeformableConv


class NodeConv(nn.Module):
    """A 3x3 convolution, deformable or plain, normalization and ReLU.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        deformable: Whether the convolution is deformable.
        norm: Normalization, "batch" or "group".

    >>> NodeConv(4, 8, True, "batch")(torch.zeros(2, 4, 5, 6)).shape
    torch.Size([2, 8, 5, 6])
    """

    def __init__(self, in_channels: int, out_channels: int, deformable: bool, norm: DLANorm) -> None:
        super().__init__()
        self.conv: nn.Module = (
            DeformableConv(in_channels, out_channels)
            if deformable
            else nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        )
        self.norm = make_norm(out_channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated maps."""
        return F.relu(self.norm(self.conv(x)))


def bilinear_upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution of each channel that starts as bilinear interpolation.

    >>> layer = bilinear_upsampling(1, 2)
    >>> layer.weight[0, 0, 0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False)
    steps = (torch.arange(2 * factor) + 0.5) / factor - 1
    weight = 1 - steps.abs()
    with torch.no_grad():
        layer.weight.copy_((weight[:, None] * weight).expand_as(layer.weight))
    return layer


class IterativeUp(nn.Module):
    """Bring levels to the stride of the first one, and add them up one after another.

    Each level but the first is projected to the channels of the result and upsampled; a convolution follows each sum
    with the level before.

    Args:
        channels: Channels of the result, those of the first level.
        in_channels: Channels of the levels, fine to coarse.
        factors: Stride of each level, in strides of the first.
        deformable: Whether the convolutions are deformable.
        norm: Normalization, "batch" or "group".
    """

    def __init__(
        self, channels: int, in_channels: Sequence[int], factors: Sequence[int], deformable: bool, norm: DLANorm
    ) -> None:
        super().__init__()
        self.project = nn.ModuleList(NodeConv(width, channels, deformable, norm) for width in in_channels[1:])
        self.up = nn.ModuleList(bilinear_upsampling(channels, factor) for factor in factors[1:])
        self.node = nn.ModuleList(NodeConv(channels, channels, deformable, norm) for _ in in_channels[1:])

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return the first level and all sums, each of the stride and the channels of the first level."""
        outputs = [levels[0]]
        for level, project, up, node in zip(levels[1:], self.project, self.up, self.node, strict=True):
            outputs.append(node(up(project(level)) + outputs[-1]))
        return outputs


class DLAUp(nn.Module):
    """Aggregation of the levels of a DLA network into one map of its finest stride (Zhou et al. 2019, appendix A).

    From coarse to fine, every level takes up all coarser ones; at the end, the sums of all strides but the coarsest are
    brought to the finest one.

    Args:
        channels: Channels of the four levels, fine to coarse; the result has those of the finest.
        deformable: Whether the convolutions are deformable, as in the released FairMOT.
        norm: Normalization, "batch" or "group".

    >>> levels = [torch.zeros(1, 8 * 2**i, 8 // 2**i, 16 // 2**i) for i in range(4)]
    >>> DLAUp((8, 16, 32, 64), deformable=False)(levels).shape
    torch.Size([1, 8, 8, 16])
    """

    def __init__(self, channels: Sequence[int], *, deformable: bool = True, norm: DLANorm = "batch") -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        widths, factors = list(channels), [2**index for index in range(len(channels))]
        for index in range(len(channels) - 2, -1, -1):  # the coarser levels have reached the stride of the next one
            own = [factor // factors[index] for factor in factors[index:]]
            self.steps.append(IterativeUp(channels[index], widths[index:], own, deformable, norm))
            widths[index + 1 :] = [channels[index]] * (len(channels) - index - 1)
            factors[index + 1 :] = [factors[index]] * (len(channels) - index - 1)
        count = len(channels) - 1
        self.last = IterativeUp(channels[0], channels[:count], [2**index for index in range(count)], deformable, norm)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the levels ``(B, C, h, w)``, fine to coarse, to one map of the finest stride."""
        maps, merged = list(levels), [levels[-1]]
        for number, step in enumerate(self.steps):
            start = len(levels) - 2 - number
            maps[start:] = step(maps[start:])
            merged.insert(0, maps[-1])
        result: Tensor = self.last(merged[:-1])[-1]
        return result
