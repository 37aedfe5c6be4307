"""MeMOTR's detector reproduces the official numbers."""

import re

import pytest
import torch

from _helpers.golden import image, padding, read_pack
from mot_core.checkpoints import load_deformable_detr
from mot_core.nn import DeformableDETR, ResNet50, inverse_sigmoid


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "memotr")


@pytest.fixture(scope="module")
def detector(pack):
    with torch.device("meta"):  # the weights come from the pack, so initialization is skipped
        detector = DeformableDETR(ResNet50(), ffn_dim=2048, dab=True, merge_layer=1).double()
    report = load_deformable_detr(detector, pack.state_dict())
    assert all(name.startswith("query_updater.") for name in report.unused)
    return detector.eval().requires_grad_(False)


def frames_of(pack):
    """Return the images and padding masks of all frames."""
    inputs = pack.data["inputs"]
    rule = r"t=(\d+)\.\.(\d+): phase \+ ([\d.]+)t, no padding, (\d+)x(\d+)"
    first, last, step, height, width = map(float, re.search(rule, inputs["frame_t"]).groups())
    size = int(height), int(width)
    mask = padding(1, *size, inputs["frame0"]["padding"])
    phase = inputs["frame0"]["phase"]
    later = [image(1, *size, phase + step * time) for time in range(int(first), int(last) + 1)]
    return [(image(1, *size, phase, mask), mask)] + [(frame, torch.zeros_like(mask)) for frame in later]


def stages_of(pyramid, memory, output):
    """Return the stages of one frame by the names of the pack."""
    stages = {f"projected_level{index}": level for index, level in enumerate(pyramid.levels)}
    stages |= {f"position_level{index}": level for index, level in enumerate(pyramid.positions[:3])}
    stages |= {"encoder_memory": memory, "outputs": output.hidden[-1], "init_reference": output.references[0]}
    stages |= {f"{name}_ref_pts": inverse_sigmoid(output.references[at]) for name, at in (("init", 0), ("last", -1))}
    layers = len(output.hidden)
    for index in range(layers):
        last = index == layers - 1
        prefix = "" if last else f"aux{index}."
        stages[f"{prefix}pred_logits"], stages[f"{prefix}pred_bboxes"] = (
            output.logits[index],
            output.boxes_cxcywh[index],
        )
        stages[f"decoder_layer{index}_hidden"] = output.hidden[index]
        # Tracks that are not decoded yet keep their anchors.
        following = output.boxes_cxcywh[-1] if last else output.references[index + 1]
        stages[f"decoder_layer{index}_reference_out"] = following
        if not last:
            stages[f"aux{index}.queries"] = output.hidden[index]
    return stages


def assert_stages(pack, case, stages):
    assert {f"{case}.{name}" for name in stages} == {name for name in pack.data["stages"] if name.startswith(case)}
    for name, tensor in stages.items():
        pack.compare(f"{case}.{name}", tensor)


def test_every_stage_without_tracks(pack, detector):
    images, mask = frames_of(pack)[0]
    pyramid = detector.features(images, mask)
    memory = detector.encode(pyramid)
    assert_stages(pack, "frame0_padded_no_tracks", stages_of(pyramid, memory, detector.decode(pyramid, memory)))
