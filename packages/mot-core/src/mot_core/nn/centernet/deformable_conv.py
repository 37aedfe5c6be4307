"""Modulated deformable convolution (DCNv2), as a weighted gather at learned positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mot_core.ops.deformable_attention import deformable_attention

KERNEL = 3
TAPS = KERNEL * KERNEL


class DeformableConv(nn.Module):
    r"""Convolution of 3x3 taps at learned offsets, each with a learned weight (Zhu et al., CVPR 2019, eq. 1).

    .. math::

        y(p) = b + \sum_{k=1}^{9} W_k \, x(p + p_k + \Delta p_k) \, \sigma(m_k)

    A convolution of the input predicts the offsets and the logits of the weights; it starts at 0. Values between cells
    are interpolated, and the map is 0 outside. The samples are computed by
    :func:`mot_core.ops.deformable_attention.deformable_attention`, with one query per cell and tap.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.

    >>> DeformableConv(4, 8)(torch.zeros(1, 4, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, KERNEL, padding=1)
        assert plain.bias is not None
        self.weight, self.bias = plain.weight, plain.bias
        self.offsets = nn.Conv2d(in_channels, 3 * TAPS, KERNEL, padding=1)
        assert self.offsets.bias is not None
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in, h, w)`` to ``(B, out, h, w)``."""
        batch, _, height, width = x.shape
        predicted = self.offsets(x).permute(0, 2, 3, 1)
        # Offsets are stored as (row, column) of each tap, the taps row by row.
        offsets = predicted[..., : 2 * TAPS].reshape(batch, height, width, TAPS, 2).flip(-1)
        modulation = predicted[..., 2 * TAPS :].sigmoid()
        rows = torch.arange(height, device=x.device, dtype=offsets.dtype)
        columns = torch.arange(width, device=x.device, dtype=offsets.dtype)
        cells = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)  # (h, w, 2)
        steps = torch.arange(KERNEL, device=x.device, dtype=offsets.dtype) - KERNEL // 2
        taps = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).flatten(0, 1)  # (9, 2), row by row
        points = cells[None, :, :, None] + taps + offsets + 0.5
        locations = points / points.new_tensor([width, height])
        samples = deformable_attention(
            x.flatten(2).transpose(1, 2)[:, :, None],
            [(height, width)],
            locations.reshape(batch, -1, 1, 1, 1, 2),
            modulation.reshape(batch, -1, 1, 1, 1),
        )
        samples = samples.reshape(batch, height * width, -1)  # (B, h w, 9 in)
        kernel = self.weight.flatten(2).transpose(1, 2).flatten(1)  # (out, 9 in)
        result = samples.to(x.dtype) @ kernel.T.to(x.dtype) + self.bias.to(x.dtype)
        return result.transpose(1, 2).reshape(batch, -1, height, width)
