"""Modulated deformable convolution against plain loops and plain convolution."""

import math

import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from mot_core.nn.centernet.deformable_conv import DeformableConv


def make_conv(inputs=2, outputs=3):
    torch.manual_seed(0)
    conv = DeformableConv(inputs, outputs).double()
    torch.nn.init.normal_(conv.offsets.weight, std=0.3)
    torch.nn.init.normal_(conv.offsets.bias, std=1.0)
    return conv


def plain_value(cells, x, y):
    """Bilinear value at (x, y); 0 outside."""
    left, top, total = math.floor(x), math.floor(y), 0.0
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < len(cells) and 0 <= column < len(cells[0]):
            total += (1 - abs(x - column)) * (1 - abs(y - row)) * cells[row][column]
    return total


def plain_conv(conv, x):
    """Channels 2k and 2k + 1 of the prediction are the row and column offset of tap k, 18 + k its weight."""
    batch, inputs, height, width = x.shape
    predicted = F.conv2d(x, conv.offsets.weight, conv.offsets.bias, padding=1)
    found = torch.zeros(batch, conv.weight.shape[0], height, width, dtype=x.dtype)
    for image in range(batch):
        for row in range(height):
            for column in range(width):
                for tap in range(9):
                    dy, dx = (
                        predicted[image, 2 * tap, row, column].item(),
                        predicted[image, 2 * tap + 1, row, column].item(),
                    )
                    weight = torch.sigmoid(predicted[image, 18 + tap, row, column]).item()
                    i, j = divmod(tap, 3)
                    for channel in range(inputs):
                        value = plain_value(x[image, channel].tolist(), column + j - 1 + dx, row + i - 1 + dy)
                        found[image, :, row, column] += weight * value * conv.weight[:, channel, i, j]
    return found + conv.bias[:, None, None]


@torch.no_grad()
def test_values_equal_plain_loops():
    conv = make_conv()
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(conv(x), plain_conv(conv, x))


@torch.no_grad()
def test_new_layer_is_half_a_plain_convolution():
    """Offsets start at 0 and weights at sigmoid(0)."""
    conv = DeformableConv(4, 6).double()
    x = torch.randn(1, 4, 5, 3, dtype=torch.float64)
    expected = F.conv2d(x, conv.weight, padding=1) / 2 + conv.bias[:, None, None]
    torch.testing.assert_close(conv(x), expected)


def test_gradients():
    conv = make_conv(1, 2)
    assert gradcheck(conv, (torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True),))
