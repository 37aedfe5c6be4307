"""Network and losses of FairMOT: against plain loops, decoding, peaks and parameter counts."""

import math
from dataclasses import replace
from zlib import crc32

import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy, iou
from mot_core.nn import FairMOTCriterion, FairMOTNetwork, keep_peaks
from mot_core.nn.centernet.fairmot_criterion import clip_identity_loss
from mot_core.nn.centernet.targets import center_focal_loss
from mot_core.structures import FrameTargets


def make_case(numbers, seed=0):
    torch.manual_seed(seed)
    network = FairMOTNetwork("micro", 2, 8, 8, deformable=False, norm="group").double()
    for head in (network.heat_head, network.side_head, network.offset_head):
        torch.nn.init.normal_(head[2].weight, std=0.5)
    output = network(torch.randn(len(numbers), 3, 32, 64, dtype=torch.float64))
    most = max(numbers)
    boxes = torch.rand(len(numbers), most, 4, dtype=torch.float64)
    boxes = torch.cat([boxes[..., :2], 0.05 + 0.6 * boxes[..., 2:]], -1)  # some leave the image
    valid = torch.arange(most) < torch.tensor(numbers)[:, None]
    boxes[~valid] = float("nan")
    labels = torch.randint(0, 2, (len(numbers), most))
    targets = FrameTargets(boxes, labels, torch.arange(most).expand(len(numbers), -1).where(valid, -1), valid)
    return output, targets, torch.tensor([[32, 64]] * len(numbers))


@pytest.mark.parametrize("numbers", [(3, 1), (0, 4), (0, 0)])
def test_detection_losses_equal_plain_loops(numbers):
    output, targets, size = make_case(numbers)
    criterion = FairMOTCriterion(8).double()
    losses, gt_index, overlap = criterion.detection(output, targets, size)
    sides = offsets = 0.0
    owners = torch.full_like(gt_index, -1)
    for image in range(len(numbers)):
        for row in range(numbers[image]):
            box = targets.boxes_cxcywh[image, row] * torch.tensor([64.0, 32, 64, 32])
            left, top, right, bottom = (cxcywh_to_xyxy(box) / 4).tolist()
            x = (max(left, 0) + min(right, 16)) / 2
            y = (max(top, 0) + min(bottom, 8)) / 2
            column, line = min(math.floor(x), 15), min(math.floor(y), 7)
            cell = line * 16 + column
            if owners[image, cell] < 0:
                owners[image, cell] = row
            wanted = (x - left, y - top, right - x, bottom - y)
            sides += sum(abs(a - b) for a, b in zip(output.sides[image, cell].tolist(), wanted, strict=True))
            own = output.offsets[image, cell].tolist()
            offsets += abs(own[0] - (x - column)) + abs(own[1] - (y - line))
    number, weight = max(sum(numbers), 1), math.exp(1.85) / 2
    assert losses["sides"].item() == pytest.approx(0.1 * weight * sides / number / 4)
    assert losses["offset"].item() == pytest.approx(weight * offsets / number / 2)
    assert losses["uncertainty"].item() == pytest.approx((-1.85 - 1.05) / 2)
    assert torch.equal(gt_index, owners)
    for image, cell in (gt_index >= 0).nonzero().tolist():
        box = targets.boxes_cxcywh[image, gt_index[image, cell]] * torch.tensor([64.0, 32, 64, 32])
        expected = iou(cxcywh_to_xyxy(output.boxes_cxcywh[image, cell]), cxcywh_to_xyxy(box))
        assert overlap[image, cell].item() == pytest.approx(expected.item())
    if not sum(numbers):
        expected = weight * center_focal_loss(output.logits, torch.zeros_like(output.logits))
        assert losses["heat"].item() == pytest.approx(expected.item())


def test_perfect_sides_give_the_box():
    output, targets, size = make_case((1,))
    criterion = FairMOTCriterion(8).double()
    box = targets.boxes_cxcywh[0] * torch.tensor([64.0, 32, 64, 32])
    _, cell, sides, offset = criterion._image_targets(output, box, (32, 64))
    from mot_core.nn.centernet.fairmot import decode_sides

    decoded = decode_sides(sides[None], offset[None], output.cells[cell], output.strides[cell])
    torch.testing.assert_close(decoded[0], box)
    assert size.tolist() == [[32, 64]]


def plain_identity(embeddings, ids, scale):
    total, number = 0.0, 0
    for i, own in enumerate(ids.tolist()):
        others = [j for j in range(len(ids)) if j != i and ids[j] >= 0]
        same = [j for j in others if ids[j] == own]
        if own < 0 or not same:
            continue
        value = {j: math.exp(scale * float(embeddings[i] @ embeddings[j])) for j in others}
        total -= math.log(sum(value[j] for j in same) / sum(value.values()))
        number += 1
    return total, number


@pytest.mark.parametrize("ids", [[0, 0, 1, 2, 1, -1], [3], [], [1, 2, 3], [5, 5, 5]])
def test_identities_of_a_clip_equal_plain_loops(ids):
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(len(ids), 4, dtype=torch.float64), dim=-1)
    loss, number = clip_identity_loss(embeddings, torch.tensor(ids, dtype=torch.int64), 3.0)
    assert (loss.item(), number.item()) == pytest.approx(plain_identity(embeddings, torch.tensor(ids), 3.0))


def test_classified_identities():
    """Identities of different sequences have different classes; unknown ones are left out."""
    torch.manual_seed(0)
    criterion = FairMOTCriterion(4, identities=1000).double()
    embeddings = torch.nn.functional.normalize(torch.randn(3, 4, dtype=torch.float64), dim=-1)
    found = criterion.identity([embeddings, embeddings[:1]], [torch.tensor([4, -1, 9]), torch.tensor([4])], ["a", "b"])
    total = 0.0
    for sequence, identity, row in (("a", 4, 0), ("a", 9, 2), ("b", 4, 0)):
        logits = criterion.classifier(criterion.scale * embeddings[row])
        total -= logits.log_softmax(0)[crc32(f"{sequence}/{identity}".encode()) % 1000].item()
    assert criterion.scale == pytest.approx(math.sqrt(2) * math.log(999))
    assert found["identity"].item() == pytest.approx(math.exp(1.05) / 2 * total / 3)


def test_peaks_equal_plain_loops():
    torch.manual_seed(0)
    logits = torch.randn(2, 20, 3)
    kept = keep_peaks(logits, (4, 5)) > -1e30
    for image in range(2):
        for cell in range(20):
            row, column = divmod(cell, 5)
            near = [
                r * 5 + c for r in range(row - 1, row + 2) for c in range(column - 1, column + 2)
                if 0 <= r < 4 and 0 <= c < 5
            ]  # fmt: skip
            for label in range(3):
                assert kept[image, cell, label] == (logits[image, cell, label] == logits[image, near, label].max())


def test_padding_and_unknown_classes():
    output, targets, size = make_case((2, 1))
    criterion = FairMOTCriterion(8).double()
    with pytest.raises(ValueError, match=r"labels: expected classes 0 to 1, got [56]; set num_classes of the detector"):
        criterion.detection(output, replace(targets, labels=targets.labels + 5 * targets.valid), size)
    losses, *_ = criterion.detection(output, targets, size)
    assert all(one.isfinite() for one in losses.values()), "NaN in padding has no effect"


def test_images_of_any_size():
    network = FairMOTNetwork("micro", 1, 8, 8, norm="group")
    output = network(torch.zeros(1, 3, 50, 70))
    assert output.shape == (16, 24)
    assert output.boxes_cxcywh.shape == (1, 16 * 24, 4)
    torch.testing.assert_close(output.embeddings.norm(dim=-1), torch.ones(1, 16 * 24))
