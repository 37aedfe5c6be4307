"""YOLOX reproduces the official pyramid, decoded boxes, detections and training losses."""

import re

import pytest
import torch

from _helpers.golden import compare_summary, image, read_pack
from mot_core.boxes import cxcywh_to_xyxy, nms, normalize_boxes
from mot_core.checkpoints import load_yolox
from mot_core.nn import YOLOX, YOLOXCriterion
from mot_core.structures import FrameTargets


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "yolox")


@pytest.fixture(scope="module", params=["yolox_x", "yolox_nano"])
def case(request, pack):
    """The detector, the import report, its keys, expected numbers, features and output of a model of the pack."""
    name = request.param
    keys = pack.data["keys"][name]
    shapes = {key: shape for key, shape, *_ in keys}
    with torch.device("meta"):
        detector = YOLOX(name.removeprefix("yolox_"), shapes["head.cls_preds.0.weight"][0]).double()
    report = load_yolox(detector, weights(pack, name))
    detector.eval().requires_grad_(False)
    inputs = pack.data["inputs"]
    assert inputs["padding"] == "none"
    images = inputs["image_factor"] * image(1, *inputs["size"], inputs["phase"])
    pyramid = detector.features(images)
    return detector, report, keys, pack.data["models"][name], pyramid, detector.head(pyramid.levels)


def weights(pack, name):
    return pack.state_dict(keys=pack.data["keys"][name], overrides=pack.data["scale_overrides_regex"][name])


def test_every_key_is_used(case):
    detector, report, keys, *_ = case
    assert not report.unused
    assert not report.missing
    assert set(report.used) == {key for key, *_ in keys}
    assert set(report.used.values()) == set(detector.state_dict())


def test_pyramid(case):
    *_, expected, pyramid, _ = case
    for index, level in enumerate(pyramid.levels):
        compare_summary(f"level {index}", level, expected[f"pyramid_level{index}"])


def decoded(output):
    return torch.cat([output.boxes_cxcywh, output.objectness.sigmoid()[..., None], output.class_logits.sigmoid()], -1)


def test_decoded_output(case):
    *_, expected, _, output = case
    rows = decoded(output)
    compare_summary("decoded", rows, expected["decoded_output"])
    (name,) = (name for name in expected if name.startswith("decoded_rows_"))
    first, last = map(int, re.fullmatch(r"decoded_rows_(\d+)_(\d+)", name).groups())
    compare_summary(name, rows[0, first : last + 1], expected[name])
    scores = output.objectness.sigmoid()[..., None] * output.class_logits.sigmoid()
    torch.testing.assert_close(output.logits.sigmoid(), scores)


def test_detections(case):
    """Threshold and suppression as in the original, for every threshold of the pack."""
    *_, expected, _, output = case
    expected = expected["postprocess"]
    scores, classes = output.logits[0].sigmoid().max(-1)
    confident = scores >= expected["conf_threshold"]
    boxes = cxcywh_to_xyxy(output.boxes_cxcywh[0])[confident]
    counts = {expected["nms_iou_threshold"]: expected["kept"]} | {
        float(name.removeprefix("kept_with_nms_threshold_")): count
        for name, count in expected.items()
        if name.startswith("kept_with_nms_threshold_")
    }
    assert len(counts) > 1
    for threshold, count in counts.items():
        assert len(nms(boxes, scores[confident], threshold, classes[confident])) == count, threshold
    kept = nms(boxes, scores[confident], expected["nms_iou_threshold"], classes[confident])
    rows = decoded(output)[0][confident][kept]
    wanted = torch.tensor(expected["rows_x1y1x2y2_obj_cls_label"], dtype=torch.float64)
    found = torch.cat([boxes[kept], rows[:, 4:6], classes[confident][kept, None]], 1)[: len(wanted)]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("entry", ["losses", "losses_with_l1"])
def test_losses(pack, case, entry):
    *_, expected, _, output = case
    expected, inputs = expected[entry], pack.data["inputs"]
    rows = torch.tensor(inputs["labels (class, cx, cy, w, h in pixels; zero rows are padding)"], dtype=torch.float64)
    size = torch.tensor([inputs["size"]])
    ids = torch.arange(len(rows))[None]
    boxes = normalize_boxes(rows[None, :, 1:], size)
    targets = FrameTargets(boxes, rows[None, :, 0].long(), ids, (rows != 0).any(-1)[None])
    losses, found = YOLOXCriterion()(output, targets, size, l1=expected["l1_loss"] > 0)
    number = (found.gt_index >= 0).sum().item()
    assert number / targets.valid.sum().item() == pytest.approx(expected["num_fg"])
    names = {"box": "iou_loss", "object": "conf_loss", "class": "cls_loss", "l1": "l1_loss"}
    for name, value in losses.items():
        assert value.item() == pytest.approx(expected[names[name]], rel=1e-4), name
    assert sum(losses.values()).item() == pytest.approx(expected["total_loss"], rel=1e-4)
