"""Our Deformable DETR reproduces the official one (MOTIP's detector) on formula-filled weights."""

import pytest
import torch

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
    stages = {}

    def keep(name, module, pick=lambda arguments, output: output):
        module.register_forward_hook(lambda _, arguments, output: stages.update({name: pick(arguments, output)}))

    keep("backbone", detector.backbone)
    keep("encoder_layer0_attention_out", detector.encoder.layers[0].self_attn)
    keep("encoder_layer0_attention_reference", detector.encoder.layers[0].self_attn, lambda given, _: given[1])
    for index, layer in enumerate(detector.encoder.layers):
        keep(f"encoder_layer{index}", layer)
    for index in (0, 1):
        keep(f"decoder_layer{index}_cross_attention_out", detector.decoder.layers[index].cross_attn)
    keep("decoder_layer1_attention_reference", detector.decoder.layers[1].cross_attn, lambda given, _: given[1])
    pyramid = detector.features(images, mask)
    memory = detector.encode(pyramid)
    output = detector.decode(pyramid, memory)
    for index, level in enumerate(stages.pop("backbone")):
        stages[f"backbone_level{index}"] = level
    for name, maps in (("projected", pyramid.levels), ("mask", pyramid.masks), ("position", pyramid.positions)):
        stages |= {f"{name}_level{index}": level for index, level in enumerate(maps)}
    stages["encoder_memory"] = memory
    stages["init_reference"] = output.references[0]
    for index in range(6):
        stages[f"decoder_layer{index}_hidden"] = output.hidden[index]
        stages[f"decoder_layer{index}_reference_out"] = output.boxes_cxcywh[index]
        prefix = f"aux{index}_" if index < 5 else ""
        stages[f"{prefix}pred_logits"] = output.logits[index]
        stages[f"{prefix}pred_boxes"] = output.boxes_cxcywh[index]
    stages["pred_boxes_first_12_queries"] = output.boxes_cxcywh[-1, :, :12]
    stages["outputs"] = output.hidden[-1]
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
    stages, _ = run
    assert set(stages) == set(pack.data["stages"])
    for name, expected in pack.data["stages"].items():
        if "true_count_per_frame" in expected:
            assert list(stages[name].shape) == expected["shape"], name
            assert stages[name].flatten(1).sum(1).tolist() == expected["true_count_per_frame"], name
        else:
            pack.compare(name, stages[name])


def test_wrong_number_is_detected(pack, run):
    memory = run[0]["encoder_memory"]
    with pytest.raises(AssertionError, match="encoder_memory"):
        pack.compare("encoder_memory", memory * 1.001)
    with pytest.raises(AssertionError, match="the sum"):
        compare_summary("the sum", torch.tensor([1.0, 2.5]), {"at": [0], "values": [1.0], "sum": 3.0})


def targets_of(frames):
    """Boxes and labels of a pack as padded targets."""
    size = max(len(frame["labels"]) for frame in frames)
    boxes = torch.zeros(len(frames), size, 4, dtype=torch.float64)
    labels = torch.full((len(frames), size), -1)
    ids = labels.clone()
    for row, frame in enumerate(frames):
        count = len(frame["labels"])
        boxes[row, :count] = torch.tensor(frame["boxes_cxcywh"], dtype=torch.float64)
        labels[row, :count] = torch.tensor(frame["labels"])
        ids[row, :count] = torch.tensor(frame["ids"])
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
