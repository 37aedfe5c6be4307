"""CenterNet: targets and losses against plain loops, decoding, and parameter counts."""

import math
from dataclasses import replace

import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy, giou, iou
from mot_core.nn import DLA, CenterHead, CenterNet, CenterNetCriterion
from mot_core.nn.centernet.targets import center_cells, center_focal_loss, center_heat, gaussian_radius
from mot_core.structures import FrameTargets

SIZE = (40, 64)


def make_case(numbers, classes=2, seed=0):
    """Return predictions on two levels and the targets of images with ``numbers`` of objects."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = CenterHead(8, (8, 16), classes, depth=1).double()
    torch.nn.init.normal_(head.box_head.weight, std=0.3)
    torch.nn.init.normal_(head.heat_head.weight, std=0.3)
    images = len(numbers)
    levels = [torch.randn(images, 8, 5, 8, generator=generator), torch.randn(images, 8, 3, 4, generator=generator)]
    output = head([level.double() for level in levels])
    most = max(numbers)
    boxes = torch.rand(images, most, 4, generator=generator, dtype=torch.float64)
    boxes = torch.cat([boxes[..., :2], 0.1 + 2 * boxes[..., 2:]], -1)  # some centers are close to the border
    labels = torch.randint(0, classes, (images, most), generator=generator)
    valid = torch.arange(most) < torch.tensor(numbers)[:, None]
    boxes[~valid] = float("nan")
    targets = FrameTargets(boxes, labels, torch.arange(most).expand(images, -1).where(valid, -1), valid)
    return output, targets, torch.tensor([SIZE] * images)


def plain_radius(width, height, overlap=0.7):
    """The largest radius of the three cases, by bisection."""
    area = width * height

    def shifted(r):
        return (width - r) * (height - r) / (2 * area - (width - r) * (height - r))

    def smaller(r):
        return max(width - 2 * r, 0) * max(height - 2 * r, 0) / area

    def larger(r):
        return area / ((width + 2 * r) * (height + 2 * r))

    def solve(value):
        low, high = 0.0, min(width, height)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if value(middle) >= overlap else (low, middle)
        return low

    return min(map(solve, (shifted, smaller, larger)))


@pytest.mark.parametrize("size", [(3.0, 5.0), (10.0, 10.0), (40.0, 7.0)])
def test_radius_keeps_the_overlap(size):
    found = gaussian_radius(torch.tensor(size, dtype=torch.float64)).item()
    assert found == pytest.approx(plain_radius(*size), rel=1e-6)


def plain_losses(output, targets):
    """Losses, objects of the cells and their overlaps, with loops over images, objects and cells."""
    images, cells, classes = output.logits.shape
    heat_loss, box_loss, positive, total = 0.0, 0.0, 0, int(targets.valid.sum())
    owners = torch.full((images, cells), -1)
    overlaps = torch.zeros(images, cells, dtype=torch.float64)
    for image in range(images):
        heat = torch.zeros(cells, classes, dtype=torch.float64)
        nearest = [math.inf] * cells
        for row in range(targets.valid.shape[1]):
            if not targets.valid[image, row]:
                continue
            x, y, w, h = (targets.boxes_cxcywh[image, row] * torch.tensor([64.0, 40, 64, 40])).tolist()
            stride = 8.0 if math.sqrt(w * h) <= 80 else 16.0
            column = min(max(math.floor(x / stride), 0), math.ceil(64 / stride) - 1)
            line = min(max(math.floor(y / stride), 0), math.ceil(40 / stride) - 1)
            radius = math.floor(plain_radius(w / stride, h / stride))
            sigma = (2 * radius + 1) / 6
            for cell in range(cells):
                if output.strides[cell] != stride:
                    continue
                dx, dy = output.cells[cell, 0].item() - column, output.cells[cell, 1].item() - line
                if max(abs(dx), abs(dy)) <= radius:
                    label = targets.labels[image, row]
                    value = math.exp(-(dx * dx + dy * dy) / (2 * sigma**2))
                    heat[cell, label] = max(heat[cell, label].item(), value)
                px, py = (output.cells[cell, 0].item() + 0.5) * stride, (output.cells[cell, 1].item() + 0.5) * stride
                inside = abs(px - x) < w / 2 and abs(py - y) < h / 2
                near = max(abs(dx), abs(dy)) <= 1 and (inside or dx == dy == 0)
                if near and dx * dx + dy * dy < nearest[cell]:
                    nearest[cell], owners[image, cell] = dx * dx + dy * dy, row
        for cell in range(cells):
            for label in range(classes):
                p = 1 / (1 + math.exp(-output.logits[image, cell, label].item()))
                y = heat[cell, label].item()
                heat_loss -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
            if owners[image, cell] >= 0:
                positive += 1
                truth = targets.boxes_cxcywh[image, owners[image, cell]] * torch.tensor([64.0, 40, 64, 40])
                a, b = cxcywh_to_xyxy(output.boxes_cxcywh[image, cell]), cxcywh_to_xyxy(truth)
                box_loss += 2 * (1 - giou(a, b).item())
                overlaps[image, cell] = iou(a, b).item()
    return heat_loss / max(total, 1), box_loss / max(positive, 1), owners, overlaps


@pytest.mark.parametrize("numbers", [(3, 1), (0, 4), (0, 0), (6, 6)])
def test_losses_equal_plain_loops(numbers):
    output, targets, size = make_case(numbers)
    losses, gt_index, overlap = CenterNetCriterion()(output, targets, size)
    heat, box, owners, overlaps = plain_losses(output, targets)
    assert losses["heat"].item() == pytest.approx(heat)
    assert losses["box"].item() == pytest.approx(box)
    assert torch.equal(gt_index, owners)
    torch.testing.assert_close(overlap, overlaps.to(overlap))


def test_order_of_objects():
    output, targets, size = make_case((4, 4), classes=1)
    order = torch.tensor([2, 0, 3, 1])
    moved = replace(targets, boxes_cxcywh=targets.boxes_cxcywh[:, order], ids=targets.ids[:, order])
    losses, *_ = CenterNetCriterion()(output, targets, size)
    again, *_ = CenterNetCriterion()(output, moved, size)
    assert losses["heat"].item() == pytest.approx(again["heat"].item())


def test_every_box_has_a_gradient():
    output, targets, size = make_case((2, 1))
    losses, *_ = CenterNetCriterion()(output, targets, size)
    gradient = torch.autograd.grad(sum(losses.values()), (output.boxes_cxcywh, output.logits))
    assert all(one.isfinite().all() and one.any() for one in gradient)


def test_focal_loss_is_stable():
    logits = torch.tensor([200.0, -200.0], requires_grad=True)
    loss = center_focal_loss(logits, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.isfinite().all()


def test_centers_outside_of_the_image_move_to_the_border():
    boxes = torch.tensor([[70.0, 39.0, 20.0, 10.0], [-1.0, 50.0, 10.0, 30.0]])
    strides = torch.tensor([8.0, 8.0])
    centers = center_cells(boxes, strides, SIZE)
    assert centers.tolist() == [[7, 4], [0, 4]]
    cells = torch.tensor([[7.0, 4.0], [0.0, 4.0]])
    assert center_heat(boxes, centers, strides, cells, torch.tensor([8.0, 8.0])).diagonal().tolist() == [1, 1]


def test_unknown_classes_are_reported():
    output, targets, size = make_case((2, 1))
    with pytest.raises(ValueError, match=r"labels: expected classes 0 to 1, got [56]; set num_classes of the detector"):
        CenterNetCriterion()(output, replace(targets, labels=targets.labels + 5 * targets.valid), size)


def test_published_number_of_parameters():
    """DLA-34 has 15.74 M parameters, of which 0.51 M are its classifier of 1,000 classes."""
    with torch.device("meta"):
        backbone = DLA("34")
    assert round((sum(one.numel() for one in backbone.parameters()) + 513_000) / 1e6, 2) == 15.74


def test_images_of_any_size():
    detector = CenterNet("micro", channels=16, norm="group", extra_levels=1, head_depth=1)
    pyramid = detector.features(torch.zeros(1, 3, 50, 70))
    assert [tuple(level.shape[-2:]) for level in pyramid.levels] == [(8, 12), (4, 6), (2, 3), (1, 2)]
    assert [tuple(mask.shape[-2:]) for mask in pyramid.masks] == [(8, 12), (4, 6), (2, 3), (1, 2)]
    assert detector(torch.zeros(1, 3, 50, 70)).boxes_cxcywh.shape == (1, 96 + 24 + 6 + 2, 4)
    assert detector.strides == (8, 16, 32, 64)
