"""MeMOTR's detector, temporal interaction and tracking reproduce the official numbers."""

import re

import pytest
import torch

from _helpers.bare_plugins import Record
from _helpers.golden import ATOL, RTOL, image, padding, read_pack
from mot_core.nn import inverse_sigmoid
from mot_core.structures import ClipBatch
from mot_core.trackers import MeMOTR


@pytest.fixture(scope="module")
def pack(mot_golden):
    return read_pack(mot_golden, "memotr")


@pytest.fixture(scope="module")
def built(pack):
    settings = pack.data["runtime"]["settings"]
    threshold = settings["det_and_track_score_thresh"]
    with torch.device("meta"):  # the weights come from the pack, so initialization is skipped
        tracker = MeMOTR(
            birth_threshold=threshold, keep_threshold=threshold, report_threshold=threshold,
            update_threshold=settings["update_threshold"], miss_tolerance=settings["miss_tolerance"],
            memory_rate=settings["official"]["long_memory_lambda"],
        ).double()  # fmt: skip
    report = tracker.import_weights(pack.state_dict())
    tracker.attach(Record())
    return tracker.eval().requires_grad_(False), report


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


def test_every_key_is_used(pack, built):
    tracker, report = built
    assert list(report.used) == [name for name, *_ in pack.data["keys"]]
    assert (report.unused, report.missing, report.remade) == ({}, (), {})
    assert set(report.used.values()) == set(tracker.state_dict())


def test_number_of_trainable_parameters():
    """The paper's table of sizes: 50.13 million."""
    with torch.device("meta"):
        tracker = MeMOTR()
    assert sum(one.numel() for one in tracker.parameters() if one.requires_grad) == 50_134_478


def test_every_stage_and_the_tracker(pack, built):
    tracker, _ = built
    record, settings = tracker.plugins["record"], pack.data["runtime"]["settings"]
    record.states.clear()
    official = settings["official"]
    default = MeMOTR.__init__.__kwdefaults__
    names = {"update_threshold": "update_threshold", "birth_threshold": "det", "keep_threshold": "track",
             "miss_tolerance": "miss_tolerance", "memory_rate": "long_memory_lambda"}  # fmt: skip
    assert {name: default[name] for name in names} == {name: official[key] for name, key in names.items()}
    cases = dict(enumerate(dict.fromkeys(name.split(".")[0] for name in pack.data["stages"])))
    for time, (wanted, (images, mask)) in enumerate(
        zip(pack.data["runtime"]["per_frame_after_update"], frames_of(pack), strict=True)
    ):
        if time in cases:
            assert cases[time].startswith(f"frame{time}_")
            pyramid = tracker.detector.features(images, mask)
            memory = tracker.detector.encode(pyramid)
            tracks = record.states[-1] if record.states else None
            output = tracker.detector.decode(pyramid, memory, tracks)
            assert_stages(pack, cases[time], stages_of(pyramid, memory, output))
        size = torch.tensor([images.shape[-2:]])
        batch = ClipBatch(images[:, None], mask, size, 10 * size, torch.tensor([[time + 1]]), ("golden",))
        reported = tracker.track(batch)
        state = record.states[-1]
        assert state.ids[0].tolist() == wanted["ids"]
        assert state.misses[0].tolist() == wanted["disappear_time"]
        scores = torch.tensor(wanted["scores"], dtype=torch.float64)
        torch.testing.assert_close(state.scores[0], scores, rtol=RTOL, atol=ATOL)
        pack.compare(wanted["ref_pts_logit"], state.ref_logits[0])
        pack.compare(wanted["query_embed"], state.queries[0])
        pack.compare(wanted["long_memory"], state.memory[0, :, :256])
        pack.compare(wanted["last_output"], state.memory[0, :, 256:])
        seen = scores > settings["det_and_track_score_thresh"]
        assert reported.ids.tolist() == torch.tensor(wanted["ids"])[seen].tolist()
