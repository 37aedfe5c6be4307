"""The detector: sizes, decoding, joint probabilities and losses against plain loops."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, iou
from mot_core.nn import YOLOX, DecoupledHead, YOLOXCriterion
from mot_core.nn.yolox.blocks import space_to_depth
from mot_core.nn.yolox.detector import SIZES
from mot_core.nn.yolox.head import cell_grid, decode_boxes, joint_logits
from mot_core.nn.yolox.losses import cell_losses, encode_boxes
from mot_core.structures import FrameTargets

PUBLISHED = {"nano": 0.91, "tiny": 5.06, "s": 9.0, "m": 25.3, "l": 54.2, "x": 99.1}  # million, with 80 classes


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_numbers_of_parameters(size):
    with torch.device("meta"):
        detector = YOLOX(size, num_classes=80)
    millions = sum(parameter.numel() for parameter in detector.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[size], abs=0.06)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("size", ["micro", "nano"])
def test_every_parameter_gets_gradient(size, norm):
    torch.manual_seed(0)
    detector = YOLOX(size, 2, embed_dim=8, norm=norm)
    output = detector(torch.randn(2, 3, 64, 96))
    (output.boxes_cxcywh.sum() + output.logits.sum() + output.embeddings.square().sum()).backward()
    assert {name for name, one in detector.named_parameters() if one.grad is None or not one.grad.any()} == set()
    assert set(SIZES) == {"micro", *PUBLISHED}


def test_images_are_extended_to_the_coarsest_stride():
    detector = YOLOX("micro", norm="group").eval()
    images = torch.randn(1, 3, 50, 70)
    pyramid = detector.features(images)
    assert [tuple(level.shape[-2:]) for level in pyramid.levels] == [(8, 12), (4, 6), (2, 3)]
    larger = torch.zeros(1, 3, 64, 96)
    larger[..., :50, :70] = images
    for level, other in zip(pyramid.levels, detector.features(larger).levels, strict=True):
        assert torch.equal(level, other)
    mask = torch.ones(1, 64, 96)
    mask[..., :50, :70] = 0
    for level, found in zip(pyramid.levels, pyramid.masks, strict=True):
        assert torch.equal(found, interpolate(mask[:, None], level.shape[-2:])[:, 0].bool())


def test_cells_and_boxes():
    """A box at the center of its cell comes back from the offsets that describe it."""
    cells, strides = cell_grid([(2, 3), (1, 2)], (8, 16), torch.zeros((), dtype=torch.float64))
    expected = [(x, y, 8) for y in range(2) for x in range(3)] + [(x, 0, 16) for x in range(2)]
    assert torch.cat([cells, strides[:, None]], 1).tolist() == [list(map(float, row)) for row in expected]
    boxes = torch.rand(len(cells), 4, dtype=torch.float64) * 30 + 1
    offsets = encode_boxes(boxes, cells, strides)
    torch.testing.assert_close(decode_boxes(offsets[None], cells, strides)[0], boxes)
    half = decode_boxes(offsets[None].half(), cells.half(), strides.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half[0], boxes.float(), rtol=0.01, atol=0.05)


def test_space_to_depth():
    image = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    moved = space_to_depth(image)
    for part, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        for y in range(2):
            for x in range(3):
                block = moved[:, 3 * part : 3 * part + 3, y, x]
                assert torch.equal(block, image[:, :, 2 * y + row, 2 * x + column])


def test_joint_logits():
    a, b = torch.randn(2, 50, dtype=torch.float64).mul(4).requires_grad_()
    torch.testing.assert_close(joint_logits(a, b).sigmoid(), a.sigmoid() * b.sigmoid())
    assert torch.autograd.gradcheck(joint_logits, (a[:10].detach().requires_grad_(), b[:10].detach()))
    extreme = torch.tensor([200.0, -200.0, 30.0], requires_grad=True)
    joint = joint_logits(extreme, extreme)
    joint.sum().backward()
    assert joint.isfinite().all()
    assert extreme.grad.isfinite().all()
    assert joint_logits(torch.zeros(1).half(), torch.zeros(1).half()).dtype == torch.float32


def make_case(counts=(2, 0, 3), classes=2, size=(48, 64), dtype=torch.float64):
    """Return random predictions for images, and targets with NaN boxes where they are padded."""
    torch.manual_seed(len(counts))
    head = DecoupledHead((8, 8), (8, 16), 8, classes, norm="group").to(dtype)
    output = head([torch.randn(len(counts), 8, 6, 8, dtype=dtype), torch.randn(len(counts), 8, 3, 4, dtype=dtype)])
    rows = max(counts, default=0)
    boxes = torch.rand(len(counts), rows, 4, dtype=torch.float64) * 0.4 + 0.3
    valid = torch.arange(rows) < torch.tensor(counts)[:, None]
    boxes[~valid] = float("nan")
    labels = torch.randint(classes, (len(counts), rows))
    return output, FrameTargets(boxes, labels, labels, valid), torch.tensor([size] * len(counts))


def plain_losses(output, targets, size, gt_index, overlaps):
    """Sums over cells, written as in the paper."""

    def entropy(logit, truth):
        p = 1 / (1 + math.exp(-logit))
        return -truth * math.log(p) - (1 - truth) * math.log(1 - p)

    sums, number = {"box": 0.0, "object": 0.0, "class": 0.0, "l1": 0.0}, 0
    height, width = size
    for image in range(len(gt_index)):
        for cell, row in enumerate(gt_index[image].tolist()):
            sums["object"] += entropy(output.objectness[image, cell].item(), float(row >= 0))
            if row < 0:
                continue
            number += 1
            box = targets.boxes_cxcywh[image, row] * torch.tensor([width, height, width, height])
            found = output.boxes_cxcywh[image, cell].double()
            sums["box"] += 5 * (1 - iou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(box)).item() ** 2)
            for label, logit in enumerate(output.class_logits[image, cell].tolist()):
                same = targets.labels[image, row].item() == label
                sums["class"] += entropy(logit, overlaps[image, cell].item() if same else 0.0)
            (x, y), stride = output.cells[cell].tolist(), output.strides[cell].item()
            cx, cy, w, h = (value / stride for value in box.tolist())
            expected = cx - x, cy - y, math.log(w), math.log(h)
            pairs = zip(output.offsets[image, cell].tolist(), expected, strict=True)
            sums["l1"] += sum(abs(a - b) for a, b in pairs)
    return {name: value / max(number, 1) for name, value in sums.items()}


@pytest.mark.parametrize("counts", [(2, 0, 3), (1,), (0, 0)])
def test_losses_equal_plain_loops(counts):
    output, targets, size = make_case(counts)
    losses, found = YOLOXCriterion()(output, targets, size, l1=True)
    assert ((found.gt_index >= 0).any(1) == targets.valid.any(1)).all()
    for image, cell in (found.gt_index >= 0).nonzero().tolist():
        assert targets.valid[image, found.gt_index[image, cell]], "no padded object"
    for name, value in plain_losses(output, targets, size[0].tolist(), found.gt_index, found.iou).items():
        assert losses[name].item() == pytest.approx(value, rel=1e-6, abs=1e-12), name
    sum(losses.values()).backward()


def test_gradients_of_the_losses():
    output, targets, size = make_case((1, 2))
    _, found = YOLOXCriterion()(output, targets, size)
    truth = denormalize_boxes(targets.boxes_cxcywh, size)

    def total(offsets, objectness, class_logits):
        boxes = decode_boxes(offsets, output.cells, output.strides)
        parts = {"offsets": offsets, "objectness": objectness, "class_logits": class_logits, "boxes_cxcywh": boxes}
        return sum(cell_losses(replace(output, **parts), found, truth, targets.labels, l1=True).values())

    inputs = [part.detach().requires_grad_() for part in (output.offsets, output.objectness, output.class_logits)]
    assert torch.autograd.gradcheck(total, inputs)


def test_half_precision():
    """Sums are computed in float32, as with autocast."""
    output, targets, size = make_case((2, 3), dtype=torch.float32)
    expected, _ = YOLOXCriterion()(output, targets, size, l1=True)
    names = "offsets", "objectness", "class_logits"
    half = replace(output, **{name: getattr(output, name).bfloat16() for name in names})
    losses, _ = YOLOXCriterion()(half, targets, size, l1=True)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[name].item(), rel=0.05), name


def test_padding_does_not_change_the_sums():
    output, targets, size = make_case((2, 3), dtype=torch.float32)
    whole, found = YOLOXCriterion()(output, targets, size)
    names = "boxes_cxcywh", "labels", "ids"
    longer = (torch.cat([part, part[:, :2]], 1) for part in (getattr(targets, name) for name in names))
    wider = FrameTargets(*longer, torch.cat([targets.valid, torch.zeros(2, 2, dtype=torch.bool)], 1))
    padded, again = YOLOXCriterion()(output, wider, size)
    assert torch.equal(found.gt_index, again.gt_index)
    assert all(torch.equal(whole[name], padded[name]) for name in whole)


def test_unknown_classes_are_reported():
    output, targets, size = make_case((2, 1), classes=2)
    with pytest.raises(ValueError, match=r"labels: expected classes 0 to 1, got [45]; set num_classes of the detector"):
        YOLOXCriterion()(output, replace(targets, labels=targets.labels + 4 * targets.valid), size)
