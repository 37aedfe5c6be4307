"""MOTR's detector, query interaction and decoding of track queries reproduce the official numbers."""

import json
import re

import pytest
import torch

from _helpers.bare_plugins import Record
from _helpers.golden import ATOL, RTOL, clip_image, image, padding, read_pack
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.nn import DeformableDETR, QueryInteraction, ResNet50, inverse_sigmoid
from mot_core.structures import ClipBatch, FrameTargets, TrackState
from mot_core.trackers import MOTR
from mot_core.trackers.motr import load_motr
from mot_core.trackers.motr.track_queries import next_ids


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
    rule = pack.data["qim"]["inputs"]
    slots = json.loads(re.search(r"at slots (\[.*?\])", rule)[1])
    hidden = pack.described(rule, "output_embedding")[slots]
    boxes = pack.described(rule, "pred_boxes")[slots]
    queries = interaction(detector.query_embed.weight[slots][None], hidden[None])
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
    inputs = pack.data["inputs"]
    size = inputs["single_frame_padded"]["size"]
    tracks, mask = None, None
    if "padding" in inputs[case]:
        mask = padding(1, *size, inputs[case]["padding"])
    else:
        ids = torch.arange(updated[0].shape[1])[None]
        tracks = TrackState(ids, ids >= 0, queries=updated[0], ref_logits=updated[1])
    pyramid = detector.features(image(1, *size, inputs[case]["phase"], mask), mask)
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


@pytest.fixture(scope="module")
def make_tracker(pack):
    def make(*plugins, **settings):
        with torch.device("meta"):
            tracker = MOTR(**settings).double()
        report = tracker.import_weights(pack.state_dict())
        assert not report.missing
        for plugin in plugins:
            tracker.attach(plugin)
        return tracker

    return make


def make_batch(images, times, targets=None, original_size=(480, 640)):
    height, width = images.shape[-2:]
    return ClipBatch(
        images, torch.zeros(1, height, width, dtype=torch.bool), torch.tensor([[height, width]]),
        torch.tensor([original_size]), torch.tensor([times]), ("golden",), targets,
    )  # fmt: skip


def test_training_clip(pack, make_tracker):
    expected = pack.data["training_clip"]
    targets = []
    for truth in expected["gt"]:
        ids = torch.tensor([truth["obj_ids"]])
        boxes = torch.tensor([truth["boxes_cxcywh"]], dtype=torch.float64)
        targets.append(FrameTargets(boxes, torch.tensor([truth["labels"]]), ids, ids >= 0))
    images = torch.stack([clip_image(expected["frames"], time) for time in range(len(targets))], 1)
    batch = make_batch(images, [time + 1 for time in range(len(targets))], tuple(targets))
    tracker = make_tracker(drop=0, insert=0)
    tracker.setup()
    count, losses = 0, {}
    with torch.no_grad():
        frames = list(tracker.follow(batch, tracker.plugins.start_clip(training=True)))
        total = sum(tracker.losses(batch)[0].values())
    for time, (wanted, (frame, layers, number)) in enumerate(zip(expected["per_frame"], frames, strict=True)):
        count += number.item()
        assert count == wanted["num_samples_so_far"]
        assert frame.valid.shape == (1, wanted["slots"])
        tracks = frame.is_track[0].nonzero().squeeze(1)
        carried = torch.stack([tracks, frame.track_ids[0][tracks]], 1)
        assert sorted(carried.tolist()) == sorted(wanted["track_slots_in"])
        ids = next_ids(frame, targets[time])[0]
        slots = (ids >= 0).nonzero().squeeze(1)
        assigned = torch.stack([slots, ids[slots], frame.gt_index[0][slots]], 1)
        assert assigned.tolist() == wanted["assigned_after"]
        # The original leaves the last overlap on tracks whose object is gone.
        overlap = torch.tensor(wanted["iou"]).where(frame.gt_index[0][slots] >= 0, 0)
        torch.testing.assert_close(frame.iou[0][slots].float(), overlap, rtol=RTOL, atol=ATOL)
        boxes = torch.tensor(wanted["pred_boxes_assigned"], dtype=torch.float64)
        torch.testing.assert_close(frame.boxes_cxcywh[0][slots], boxes, rtol=RTOL, atol=ATOL)
        for index, layer in enumerate(layers):
            prefix = f"frame_{time}_" + (f"aux{index}_" if index < 5 else "")
            for ours, theirs in (("class", "ce"), ("l1", "bbox"), ("giou", "giou")):
                losses[f"{prefix}loss_{theirs}"] = layer[ours].item()
    assert losses.keys() == expected["losses"].keys()
    assert count == expected["num_samples"]
    for name, value in expected["losses"].items():
        assert losses[name] / count == pytest.approx(value, rel=1e-4), name
    assert total.item() == pytest.approx(expected["weighted_total"], rel=1e-4)


def test_inference_clip(pack, make_tracker):
    expected = pack.data["inference_clip"]
    record = Record()
    tracker = make_tracker(
        record, birth_threshold=expected["score_thresh"], keep_threshold=expected["filter_score_thresh"],
        miss_tolerance=expected["miss_tolerance"], report_threshold=expected["score_thresh"],
    ).eval()  # fmt: skip
    original_size = tuple(map(int, re.search(r"target size \((\d+),(\d+)\)", expected["frames"]).groups()))
    for time, wanted in enumerate(expected["per_frame"]):
        reported = tracker.track(
            make_batch(clip_image(expected["frames"], time)[:, None], [time + 1], original_size=original_size)
        )
        tracks = record.states[-1]
        assert tracks.ids[0].tolist() == wanted["ids"]
        assert tracks.misses[0].tolist() == wanted["disappear_time"]
        assert len(wanted["ids"]) == wanted["slots_after"] - 300
        scores = torch.tensor(wanted["scores"], dtype=torch.float64)
        torch.testing.assert_close(tracks.scores[0], scores, rtol=RTOL, atol=ATOL)
        boxes = torch.tensor(wanted["boxes_xyxy_480x640"], dtype=torch.float64)
        seen = scores > expected["score_thresh"]
        assert reported.ids.tolist() == torch.tensor(wanted["ids"])[seen].tolist()
        torch.testing.assert_close(reported.boxes_xyxy, boxes[seen], rtol=RTOL, atol=0.01)
        all_boxes = cxcywh_to_xyxy(tracks.boxes_cxcywh[0]) * torch.tensor([640, 480, 640, 480])
        torch.testing.assert_close(all_boxes, boxes, rtol=RTOL, atol=0.01)


def test_plain_detector_as_initialization(mot_golden):
    """The track modules keep their initial values, which the report states."""
    plain = read_pack(mot_golden, "deformable_detr")
    state = plain.state_dict()
    state = {name.removeprefix("detr."): value for name, value in state.items()}
    tracker = MOTR()
    fresh = {name: value.clone() for name, value in tracker.query_interaction.state_dict().items()}
    report = tracker.import_weights(state)
    assert all("track_attn" in name or name.startswith("query_interaction.") for name in report.missing)
    assert {f"query_interaction.{name}" for name in fresh} < set(report.missing)
    assert set(report.used.values()) | set(report.missing) | set(report.remade) == set(tracker.state_dict())
    assert all(torch.equal(value, fresh[name]) for name, value in tracker.query_interaction.state_dict().items())
    expected = state["query_embed.weight"].float()
    assert torch.equal(tracker.detector.query_embed.weight, expected)
