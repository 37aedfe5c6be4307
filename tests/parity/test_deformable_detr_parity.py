"""Our Deformable DETR reproduces the official one (MOTIP's detector) on formula-filled weights."""

import pytest
import torch

from _helpers.detector_stages import assert_stages, complete, record, stack_boxes
from _helpers.golden import ATOL, RTOL, compare_summary, image, padding, read_pack, uniform
from mot_core.checkpoints import load_deformable_detr
from mot_core.nn import DeformableDETR, ResNet50, SetCriterion, detection_losses
from mot_core.structures import FrameTargets


def build(pack, prefix, **options):
    with torch.device("meta"):  # the weights come from the pack, so initialization is skipped
        detector = DeformableDETR(ResNet50(), **options).double()
    report = load_deformable_detr(detector, pack.state_dict(), prefix=prefix)
    return detector.eval().requires_grad_(False), report


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "deformable_detr")


@pytest.fixture(scope="module")
def built(pack):
    return build(pack, "detr.")


@pytest.fixture(scope="module")
def run(pack, built):
    """Every stage of one forward pass, by the names of the pack."""
    detector, _ = built
    inputs = pack.data["inputs"]
    size = inputs["batch"], inputs["height"], inputs["width"]
    mask = padding(*size, inputs["mask"])
    images = image(*size, phase=inputs["image_phase"], mask=mask)
    stages = record(detector)
    pyramid = detector.features(images, mask)
    output = detector.decode(pyramid, detector.encode(pyramid))
    complete(stages, pyramid, output)
    return stages, output


def test_hash():
    expected = {
        (0, 0, 0): 0.536160035058856,
        (1, 0, 0): -0.9817597614601254,
        (2, 0, 0): -0.5082345036789775,
        (1000, 37, 0): -0.09751216415315866,
        (1_000_000, 596, 5): -0.001995585858821869,
    }
    assert {key: float(uniform(*key)) for key in expected} == expected


def test_every_key_is_used(pack, built):
    detector, report = built
    assert list(report.used) == [name for name, *_ in pack.data["keys"]]
    assert (report.unused, report.missing, report.remade) == ({}, (), {})
    assert set(report.used.values()) == set(detector.state_dict())
    shapes = {name: list(tensor.shape) for name, tensor in detector.state_dict().items()}
    assert all(shapes[report.used[name]] == shape for name, shape, *_ in pack.data["keys"])


def test_every_stage(pack, run):
    assert_stages(pack, run[0])


def test_wrong_number_is_detected(pack, run):
    memory = run[0]["encoder_memory"]
    with pytest.raises(AssertionError, match="encoder_memory"):
        pack.compare("encoder_memory", memory * 1.001)
    with pytest.raises(AssertionError, match="the sum"):
        compare_summary("the sum", torch.tensor([1.0, 2.5]), {"at": [0], "values": [1.0], "sum": 3.0})


def targets_of(frames):
    """Boxes and labels of a pack as padded targets."""
    boxes, labels, ids = stack_boxes(frames)
    return FrameTargets(boxes, labels, ids, labels >= 0)


def test_matchings_and_losses(pack, run):
    expected = pack.data["criterion"]
    output, targets = run[1], targets_of(expected["targets"])
    losses, gt_index = SetCriterion()(output, targets)
    # The official criterion returns the variable left by its loop over the auxiliary layers, so the pack's matching of
    # the last layer is that of the last auxiliary one. The losses below fix the true one.
    assert expected["matching_last_layer"] == expected["matching_aux_layers"][-1]
    for layer, matching in enumerate(expected["matching_aux_layers"]):
        for frame, (queries, objects) in enumerate(matching):
            found = gt_index[layer, frame]
            assert (found >= 0).nonzero().squeeze(1).tolist() == queries
            assert found[queries].tolist() == objects
    assert not torch.equal(gt_index[-1], gt_index[-2])
    other = detection_losses(output.logits[-1], output.boxes_cxcywh[-1], gt_index[-2], targets)
    assert other["l1"].item() / 7 != pytest.approx(expected["losses"]["loss_bbox"], rel=0.1)

    ours = {"class": "loss_ce", "l1": "loss_bbox", "giou": "loss_giou"}
    values = {ours[name.split("_")[0]] + name[len(name.split("_")[0]) :]: loss for name, loss in losses.items()}
    # Quantities that the official criterion only logs (class and cardinality error) are not losses of ours.
    logged = ("class_error", "cardinality_error")
    official = {name: value for name, value in expected["losses"].items() if not name.startswith(logged)}
    assert set(values) == set(official)
    for name, value in official.items():
        assert values[name].item() == pytest.approx(value, rel=RTOL, abs=ATOL), name
    assert SetCriterion().total(losses).item() == pytest.approx(expected["weighted_total"], rel=RTOL)
