"""The association of GTR reproduces the official embeddings, scores, targets, loss and tracks."""

import re
from functools import partial

import pytest
import torch

from _helpers.golden import compare_summary, read_pack
from mot_core.boxes import pairwise_iou
from mot_core.checkpoints import load_gtr
from mot_core.nn import (
    GlobalAssociation,
    association_probabilities,
    window_association_loss,
    window_association_targets,
)
from mot_core.trackers.gtr.window import SlidingWindow, WindowFrame


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "gtr_association")


@pytest.fixture(scope="module", params=["mot_fpn", "tao_style"])
def case(request, pack):
    """The head, the import report, the expected numbers and the embeddings of a configuration."""
    keys = pack.data["keys"][request.param]
    shapes = {name: shape for name, shape, *_ in keys}
    (expected,) = (numbers for name, numbers in pack.data["configurations"].items() if name.startswith(request.param))
    layers = len({name for name in shapes if re.fullmatch(r"asso_predictor\.q_proj\.layers\.\d+\.weight", name)})
    pooled = pooled_features(pack)
    with torch.device("meta"):
        head = GlobalAssociation(
            pooled.shape[1], shapes["asso_head.fc2.weight"][0], pool_size=pooled.shape[2], projection_layers=layers,
            positions="pos_emb.weight" in shapes,
        ).double()  # fmt: skip
    state = pack.state_dict(keys=keys)
    report = load_gtr(head, {f"roi_heads.{name}": value for name, value in state.items()} | {"x": torch.zeros(1)})
    head.eval().requires_grad_(False)
    return head, report, state, expected, head.embed(pooled)


def boxes_of(pack):
    return [torch.tensor(boxes, dtype=torch.float64) for boxes in pack.data["inputs"]["boxes_xyxy_per_frame"]]


def counts_of(pack):
    return [len(boxes) for boxes in boxes_of(pack)]


def scale_of(pack):
    height, width = pack.data["inputs"]["image_size_hw"]
    return torch.tensor([width, height, width, height], dtype=torch.float64)


def pooled_features(pack):
    """Pooled features ``(N, C, 7, 7)`` of all boxes: one part per object, one per box."""
    inputs = pack.data["inputs"]
    k, rows, channels, height, width = map(int, re.search(
        r"u\(n,k=(\d+)\) block i of shape \((\d+),(\d+),(\d+),(\d+)\)", inputs["pooled_features"]
    ).groups())  # fmt: skip
    factor, start = re.search(r"\+ ([\d.]+)\*u\(n,k=(\d+)\+t\) block j", inputs["pooled_features"]).groups()
    objects, found = pack.filled(k, rows, channels, height, width), []
    for time, index in enumerate(inputs["object_index_per_box"]):
        found.append(
            objects[index] + float(factor) * pack.filled(int(start) + time, len(index), channels, height, width)
        )
    return torch.cat(found)


def logits_of(pack, case):
    head, *_, embeddings = case
    return head(embeddings, counts_of(pack), torch.cat(boxes_of(pack)) / scale_of(pack))


def test_every_key_is_used(case):
    head, report, state, *_ = case
    assert {name.removeprefix("roi_heads.") for name in report.used} == set(state)
    assert set(report.used.values()) == set(head.state_dict())
    assert not report.missing
    assert list(report.unused) == ["x"]
    assert "released detector, which has another architecture" in report.unused["x"]


def test_embeddings(case):
    *_, expected, embeddings = case
    compare_summary("reid_features", embeddings[None], expected["reid_features"])


def test_transformer(case):
    head, _, _, expected, embeddings = case
    memory, hidden = head.transform(embeddings, 0.0)
    compare_summary("memory", memory[None], expected["encoder_memory_without_position"])
    compare_summary("decoded", hidden[None], expected["decoder_out_without_position"])


def test_position_embeddings(pack, case):
    """Boxes and times each have an embedding; the pack has them if the configuration uses them."""
    head, _, _, expected, _ = case
    boxes = torch.cat(boxes_of(pack)) / scale_of(pack)
    if "time_embedding" not in expected:
        assert head.position(counts_of(pack), boxes) == 0
        return
    weights = {"box_position_embedding": head.time_embedding, "time_embedding": head.box_embedding}
    for name, other in weights.items():
        kept = other.weight.clone()
        other.weight.zero_()  # the other embedding
        compare_summary(name, 2 * head.position(counts_of(pack), boxes), expected[name])
        other.weight.copy_(kept)


def test_scores(pack, case):
    head, _, _, expected, embeddings = case
    logits, counts = logits_of(pack, case), counts_of(pack)
    compare_summary("logits", logits, expected["asso_logits"])
    probabilities = association_probabilities(logits, counts)
    compare_summary("probabilities", probabilities, expected["asso_probabilities"])
    compare_summary("first row", probabilities[0], expected["asso_probabilities_first_row"])
    boxes = torch.cat(boxes_of(pack)) / scale_of(pack)
    last = head(embeddings, counts, boxes, slice(sum(counts[:-1]), None))
    compare_summary("last frame", last, expected["asso_logits_query_frame_3"])


def test_targets_and_loss(pack, case):
    *_, expected, _ = case
    rule, boxes, counts = pack.data["inputs"]["targets"], boxes_of(pack), counts_of(pack)
    factor, start = re.search(r"boxes \+ (\d+)\*u\(n,k=(\d+)\+t\)", rule).groups()
    removed = [int(number) for number in re.search(r"flat entries (\d+) and (\d+) are removed", rule).groups()]
    ignored = int(re.search(r"flat entry (\d+) has identity 0", rule)[1])
    overlaps, identities, start_of_frame = [], [], 0
    for time, (own, objects) in enumerate(zip(boxes, pack.data["inputs"]["object_index_per_box"], strict=True)):
        truth = own + float(factor) * pack.filled(int(start) + time, len(own), 4)
        flat = torch.arange(len(own)) + start_of_frame
        kept = ~torch.isin(flat, torch.tensor(removed))
        ids = torch.tensor(objects).where(flat != ignored, -1)
        overlaps.append(pairwise_iou(truth[kept], own))
        identities.append(ids[kept])
        start_of_frame += len(own)
    slots, rows = window_association_targets(overlaps, identities)
    assert slots.tolist() == expected["gt_slot_per_identity_and_frame"]
    assert rows.tolist() == expected["identity_of_each_box"]
    negatives = case[0].query_projection is None  # the configurations differ in this, too
    total, number = window_association_loss(logits_of(pack, case), counts, slots, rows, negatives=negatives)
    assert (total / number).item() == pytest.approx(expected["loss"], rel=1e-4)


def settings_of(name):
    """Return the settings of the tracker that the name of an entry describes."""
    if name == "window 2":
        return {"length": int(name.split()[1])}
    if name.startswith("released MOT settings"):
        distance, decay, overlap, window = re.search(
            r"with_iou, max_center_dist ([\d.]+), decay ([\d.]+), not_mult_thresh, overlap ([\d.]+), window (\d+)", name
        ).groups()
        return {
            "max_distance": float(distance), "decay": float(decay), "threshold": float(overlap), "length": int(window)
        }  # fmt: skip
    assert name == "no IoU, no distance gate, no decay, threshold multiplied by track length"
    return {"use_iou": False, "max_distance": float("inf"), "decay": 1.0, "scale_threshold": True}


def test_tracks(pack, case):
    """Identities of all frames, for every setting of the pack."""
    head, _, _, expected, embeddings = case
    size = torch.tensor(pack.data["inputs"]["image_size_hw"], dtype=torch.float64)
    assert len(expected["tracker_ids_per_frame"]) == 3
    for name, wanted in expected["tracker_ids_per_frame"].items():
        window, found = SlidingWindow(**settings_of(name)), []
        parts = zip(boxes_of(pack), embeddings.split(counts_of(pack)), strict=True)
        for time, (boxes, part) in enumerate(parts):
            frame = WindowFrame(boxes, torch.ones(len(boxes)), part, time + 1)
            found.append(window.update(frame, size, partial(_associate, head)).tolist())
        assert found == wanted, name


def _associate(head, embeddings, counts, boxes, queries):
    return head(embeddings, counts, boxes, queries)
