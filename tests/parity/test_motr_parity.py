"""MOTR's detector, query interaction and decoding of track queries give the official numbers."""

import pytest
import torch
from golden import image, padding, read_pack

from mot_core.checkpoints import load_motr
from mot_core.nn import DeformableDETR, QueryInteraction, ResNet50, inverse_sigmoid
from mot_core.structures import TrackState

SLOTS = [3, 40, 77, 150, 222, 299]


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "motr")


@pytest.fixture(scope="module")
def built(pack):
    with torch.device("meta"):
        parts = DeformableDETR(ResNet50(), track_attention=True).double(), QueryInteraction().double()
    report = load_motr(*parts, pack.state_dict())
    return *(part.eval().requires_grad_(False) for part in parts), report


@pytest.fixture(scope="module")
def updated(pack, built):
    """Queries of six tracks, from the slots that the pack names."""
    detector, interaction, _ = built
    hidden = 1.5 * pack.filled(900, 300, 256)[SLOTS]
    boxes = 0.5 + 0.4 * pack.filled(901, 300, 4)[SLOTS]
    queries = interaction(detector.query_embed.weight[SLOTS][None], hidden[None])
    return queries, inverse_sigmoid(boxes[None, :, :2])


def test_every_key_is_used(pack, built):
    detector, interaction, report = built
    # One norm of the official module is never called.
    assert set(report.unused) == {"track_embed.norm3.weight", "track_embed.norm3.bias"}
    assert set(report.used) | set(report.unused) == {name for name, *_ in pack.data["keys"]}
    names = (("detector", detector), ("query_interaction", interaction))
    assert set(report.used.values()) == {f"{name}.{key}" for name, part in names for key in part.state_dict()}


def test_query_interaction(pack, updated):
    queries, references = updated
    expected = pack.data["qim"]
    pack.compare(expected["updated_query_pos_rows_300_305"], queries[0])
    pack.compare(expected["updated_position_half"], queries[0, :, :256])
    pack.compare(expected["updated_content_half"], queries[0, :, 256:])
    pack.compare(expected["ref_pts_rows_300_305_logits"], references[0])


@pytest.mark.parametrize("case", ["single_frame_padded", "frame_with_6_track_queries_unpadded"])
def test_every_stage(pack, built, updated, case):
    detector, *_ = built
    tracks, mask = None, padding(1, 128, 160, rows=112, columns=136)
    phase = 0.0
    if case != "single_frame_padded":
        mask, phase = None, pack.data["inputs"][case]["phase"]
        ids = torch.arange(6)[None]
        tracks = TrackState(ids, ids >= 0, queries=updated[0], ref_logits=updated[1])
    pyramid = detector.features(image(1, 128, 160, phase, mask), mask)
    memory = detector.encode(pyramid)
    output = detector.decode(pyramid, memory, tracks)
    stages = {f"projected_level{index}": level for index, level in enumerate(pyramid.levels)}
    stages |= {f"position_level{index}": level for index, level in enumerate(pyramid.positions[:3])}
    stages |= {"encoder_memory": memory, "init_reference": output.references[0], "hs": output.hidden[-1]}
    stages["ref_pts"] = output.references[-1][..., :2]
    for index in range(6):
        prefix = f"aux{index}." if index < 5 else ""
        stages[f"{prefix}pred_logits"], stages[f"{prefix}pred_boxes"] = output.logits[index], output.boxes_cxcywh[index]
        stages[f"decoder_layer{index}_hidden"] = output.hidden[index]
        stages[f"decoder_layer{index}_reference_out"] = output.boxes_cxcywh[index]
    assert {f"{case}.{name}" for name in stages} == {name for name in pack.data["stages"] if name.startswith(case)}
    for name, tensor in stages.items():
        pack.compare(f"{case}.{name}", tensor)
