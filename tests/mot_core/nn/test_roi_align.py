"""RoIAlign against plain loops, in float64."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from mot_core.nn import roi_align


def plain_value(cells, x, y):
    """Bilinear value at (x, y) in cells; the border continues for one cell, then the map is 0."""
    height, width = len(cells), len(cells[0])
    if not (-1 <= x <= width and -1 <= y <= height):
        return 0.0
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = math.floor(x), math.floor(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    upper = (1 - a) * cells[top][left] + a * cells[top][right]
    lower = (1 - a) * cells[bottom][left] + a * cells[bottom][right]
    return (1 - b) * upper + b * lower


def plain_roi_align(features, boxes, images, stride, size, samples):
    found = []
    for (x0, y0, x1, y1), image in zip(boxes.tolist(), images.tolist(), strict=True):
        for channel in features[image].tolist():
            for row in range(size):
                for column in range(size):
                    total = 0.0
                    for i in range(samples):
                        for j in range(samples):
                            x = x0 + (column + (j + 0.5) / samples) * (x1 - x0) / size
                            y = y0 + (row + (i + 0.5) / samples) * (y1 - y0) / size
                            total += plain_value(channel, x / stride - 0.5, y / stride - 0.5)
                    found.append(total / samples**2)
    return torch.tensor(found, dtype=torch.float64).reshape(len(boxes), features.shape[1], size, size)


def make_case(seed, height, width, number):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 2, height, width, generator=generator, dtype=torch.float64)
    corners = torch.rand(number, 2, generator=generator, dtype=torch.float64) * 60 - 15  # some outside of the map
    boxes = torch.cat([corners, corners + torch.rand(number, 2, generator=generator, dtype=torch.float64) * 40 + 1], 1)
    return features, boxes, torch.randint(0, 3, (number,), generator=generator)


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 4), (6, 1)])
@pytest.mark.parametrize(("size", "samples"), [(1, 1), (3, 2), (2, 3)])
def test_values_equal_plain_loops(height, width, size, samples):
    case = make_case(height * width, height, width, 9)
    found = roi_align(*case, 8, size, samples)
    torch.testing.assert_close(found, plain_roi_align(*case, 8, size, samples))


def test_gradients():
    features, boxes, images = make_case(1, 4, 5, 3)
    assert gradcheck(
        lambda maps, corners: roi_align(maps, corners, images, 8.0, 2),
        (features.requires_grad_(), boxes.requires_grad_()),
    )


def test_order_of_boxes():
    features, boxes, images = make_case(2, 5, 6, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.equal(
        roi_align(features, boxes, images, 8)[order], roi_align(features, boxes[order], images[order], 8)
    )


def test_no_boxes():
    features = torch.rand(2, 3, 4, 4, requires_grad=True)
    found = roi_align(features, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 8)
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()
    assert not features.grad.any()


def test_half_precision():
    features, boxes, images = make_case(3, 5, 6, 4)
    found = roi_align(features.bfloat16(), boxes, images, 8)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), roi_align(features, boxes, images, 8), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("boxes", "images", "words"),
    [
        (torch.zeros(2, 3), torch.zeros(2).long(), r"expected shapes .* got \(1, 1, 2, 2\), \(2, 3\) and \(2,\)"),
        (torch.zeros(1, 4), torch.ones(1).long(), "images: expected rows 0 to 0 of features, got 1 to 1"),
    ],
)
def test_invalid_input(boxes, images, words):
    with pytest.raises(ValueError, match=words):
        roi_align(torch.zeros(1, 1, 2, 2), boxes, images, 8)
