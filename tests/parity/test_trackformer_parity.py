"""TrackFormer's multi-frame attention, track queries, matching and losses reproduce the official numbers."""

import re

import pytest
import torch

from _helpers.golden import image, padding, read_pack
from mot_core.nn import inverse_sigmoid
from mot_core.structures import ClipBatch, FeaturePyramid, FrameTargets, TrackState
from mot_core.trackers import DetectorSettings, TrackFormer, frame_output

WITHOUT, WITH = "frame0_padded_no_tracks", "frame1_with_5_track_queries_and_previous_features"


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "trackformer")


def make_tracker(pack, num_classes):
    settings = DetectorSettings(num_queries=500, embed_dim=288, num_classes=num_classes)
    with torch.device("meta"):
        tracker = TrackFormer(settings).double()
    report = tracker.import_weights(pack.state_dict())
    return tracker.eval().requires_grad_(False), report


@pytest.fixture(scope="module")
def built(pack):
    return make_tracker(pack, num_classes=20)


@pytest.fixture(scope="module")
def outputs(pack, built):
    """The joined pyramid, memory and predictions of both frames, and the images of the second."""
    detector, inputs = built[0].detector, pack.data["inputs"]
    size = tuple(8 * side for side in pack.data["stages"][f"{WITHOUT}.source_0"]["shape"][2:])
    mask = padding(1, *size, inputs["frame0"]["padding"])
    first = detector.features(image(1, *size, inputs["frame0"]["phase"], mask), mask)
    images = image(1, *size, inputs["frame1"]["phase"])
    # Pixels of the second frame are not zero where it is padded.
    second = FeaturePyramid(detector.features(images).levels, first.masks, first.positions)
    content = pack.described(f"embeddings {inputs['track_query_hs_embeds']}", "embeddings")[None]
    centers = torch.tensor(inputs["track_query_boxes"], dtype=torch.float64)[None, :, :2]
    ids = torch.full((1, content.shape[1]), -1)
    true = [row for row in range(content.shape[1]) if row not in inputs["track_queries_fal_pos"]]
    ids[0, true] = torch.tensor(inputs["track_query_match_ids"])
    queries = torch.cat([torch.zeros_like(content), content], -1)
    tracks = TrackState(ids, ids > -2, queries=queries, ref_logits=inverse_sigmoid(centers))
    found = {}
    for case, joined, carried in (
        (WITHOUT, detector.join(first), None),
        (WITH, detector.join(second, first), tracks),
    ):
        memory = detector.encode(joined)
        found[case] = joined, memory, detector.decode(joined, memory, carried)
    return found, images, tracks


def test_every_key_is_used(pack, built):
    tracker, report = built
    assert not report.unused
    assert not report.missing
    assert not report.remade
    assert set(report.used) == {name for name, *_ in pack.data["keys"]}
    assert set(report.used.values()) == set(tracker.state_dict())


@pytest.mark.parametrize("case", [WITHOUT, WITH])
def test_every_stage(pack, built, outputs, case):
    joined, memory, output = outputs[0][case]
    count = built[0].detector.num_queries

    def tracks_first(slots):
        return torch.cat([slots[:, count:], slots[:, :count]], 1)

    stages = {"encoder_memory_all_levels": memory, "init_reference": tracks_first(output.references[0])}
    for index in range(8):
        ours = (index + 4) % 8  # the pack lists the previous frame first
        stages[f"source_{index}"], stages[f"source_{index}_position"] = joined.levels[ours], joined.positions[ours]
    for index in range(6):
        prefix = f"aux{index}." if index < 5 else ""
        stages[f"{prefix}pred_logits"] = tracks_first(output.logits[index])
        stages[f"{prefix}pred_boxes"] = tracks_first(output.boxes_cxcywh[index])
        stages[f"decoder_layer{index}_hidden"] = tracks_first(output.hidden[index])
        stages[f"decoder_layer{index}_reference_out"] = tracks_first(output.boxes_cxcywh[index])
    stages["hs_embed"] = stages["decoder_layer5_hidden"]
    assert {f"{case}.{name}" for name in stages} == {name for name in pack.data["stages"] if name.startswith(case)}
    for name, tensor in stages.items():
        pack.compare(f"{case}.{name}", tensor)


def test_criterion(pack, built, outputs):
    tracker, expected = built[0], pack.data["criterion"]
    found, images, tracks = outputs
    output = found[WITH][2]
    count, carried = tracker.detector.num_queries, tracks.ids.shape[1]
    size = torch.tensor([list(images.shape[-2:])])
    batch = ClipBatch(
        images[:, None], torch.zeros_like(images[:, 0], dtype=torch.bool), size, size, torch.ones(1, 1).long(), ("a",)
    )
    marks = {
        "is_track": torch.arange(count + carried)[None] >= count,
        "track_ids": torch.cat([torch.full((1, count), -1), tracks.ids], 1),
    }
    layers = zip(output.logits, output.boxes_cxcywh, strict=True)
    frames = [frame_output(output, batch, 0, **marks, logits=logits, boxes_cxcywh=boxes) for logits, boxes in layers]
    boxes = torch.tensor([expected["targets"]["boxes_cxcywh"]], dtype=torch.float64)
    labels = torch.tensor([expected["targets"]["labels"]])
    targets = FrameTargets(boxes, labels, torch.arange(boxes.shape[1])[None], torch.ones_like(labels) > 0)
    tracker.setup()
    frame, losses, number = tracker.criterion()(
        frame_output(output, batch, 0, **marks, aux=tuple(frames[:-1])), targets
    )
    matched = (frame.gt_index[0] >= 0).nonzero().squeeze(1)
    pairs = {((slot - count) % (count + carried), frame.gt_index[0, slot].item()) for slot in matched.tolist()}
    assert pairs == set(zip(*expected["matching"], strict=True))
    total = 0
    for index, layer in enumerate(losses):
        suffix = "" if index == 5 else f"_{index}"
        for ours, theirs, weight in (("class", "ce", 2), ("l1", "bbox", 5), ("giou", "giou", 2)):
            value = layer[ours].item() / number.item()
            assert value == pytest.approx(expected["losses"][f"loss_{theirs}{suffix}"], rel=1e-4), (ours, index)
            total += weight * value
    assert total == pytest.approx(expected["weighted_total"], rel=1e-4)


def test_one_class_uses_the_first_column(pack, outputs):
    """The released heads have 20 columns, and people are the first class."""
    tracker, report = make_tracker(pack, num_classes=1)
    assert not report.remade
    joined, memory, wide = outputs[0][WITHOUT]
    assert torch.equal(tracker.detector.decode(joined, memory).hidden, wide.hidden)
    torch.testing.assert_close(tracker.detector.decode(joined, memory).logits, wide.logits[..., :1])


def test_other_architecture(pack):
    tracker = TrackFormer(DetectorSettings(num_queries=10, embed_dim=288))
    with pytest.raises(ValueError, match=re.escape("query_embed.weight is (500, 576) in the checkpoint")):
        tracker.import_weights(pack.state_dict())
