"""The metrics inside a validation step: equal to scores of files, for any order of frames and several processes."""

import copy
import io
import json
import pickle
import sys

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

import mot_core.evaluation
from _helpers.two_process.launch import launch
from mot_core.evaluation import CLEAR, HOTA, Identity, TrackingMetrics, evaluate
from mot_core.evaluation.scores import HEADLINES
from mot_core.io import BoxTable, find_sequences, make_scene, read_mot, write_mot

BOX = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
FRAMES = 30


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two sequences on disk with results that are neither perfect nor useless."""
    root = tmp_path_factory.mktemp("scenes")
    for seed, name in enumerate(("north", "süd")):
        scene = make_scene(seed=seed, num_objects=6, num_frames=FRAMES)
        scene.save(root / "gt", name)
        truth, rng = scene.ground_truth, np.random.default_rng(seed)
        kept = truth.select(rng.random(len(truth)) > 0.2)
        ids = np.where(rng.random(len(kept)) < 0.1, kept.ids + 2**40, kept.ids)
        moved = kept.boxes_xyxy + rng.normal(0, 4, kept.boxes_xyxy.shape)
        write_mot(root / "results" / f"{name}.txt", BoxTable(kept.frames, ids, moved), kind="results")
    return root


def frames_of(root, benchmark="generic"):
    """The arguments of every update."""
    for sequence in find_sequences(root / "gt", benchmark=benchmark):
        truth = sequence.ground_truth()
        results = read_mot(root / "results" / f"{sequence.name}.txt", kind="results")
        for frame in sequence.frame_numbers():
            gt, found = truth.frame(frame), results.frame(frame)
            yield {
                "sequence": sequence.name,
                "frame": frame,
                "ids": results.ids[found],
                "boxes_xyxy": results.boxes_xyxy[found],
                "gt_ids": truth.ids[gt],
                "gt_boxes_xyxy": truth.boxes_xyxy[gt],
            }


def filled(frames, metric=None):
    metric = metric or TrackingMetrics()
    for frame in frames:
        metric.update(**frame)
    return metric


def plain(scores):
    return {name: dict(one) for name, one in scores.items()}


def numbers(metric):
    return {name: value.item() for name, value in metric.compute().items()}


def switch(metric, frames=4):
    """One person whose identity switches half way."""
    for frame in range(1, frames + 1):
        metric.update("clip", frame, [5 if frame <= frames // 2 else 6], BOX, [1], BOX)
    return metric


def test_equals_scores_of_files(root):
    metric = filled(frames_of(root))
    evaluation = evaluate(root / "results", root / "gt", benchmark="generic")
    assert plain(metric.per_sequence()) == plain(evaluation.sequences)
    combined = numbers(metric)
    assert combined == {name: evaluation.combined[name] for name in combined}
    assert set(combined) == {name for names in HEADLINES.values() for name in names}
    assert 30 < combined["HOTA"] < 90


def test_frame_order_invariance(root):
    frames = list(frames_of(root))
    shuffled = [frames[place] for place in np.random.default_rng(0).permutation(len(frames))]
    assert numbers(filled(shuffled)) == numbers(filled(frames))


def test_repeated_frame_counts_once(root):
    frames = list(frames_of(root))
    assert numbers(filled(frames + frames[:7])) == numbers(filled(frames))


@pytest.mark.parametrize("what", ["boxes_xyxy", "ids", "gt_boxes_xyxy", "gt_ids"])
def test_contradicting_repeated_frame_is_rejected(root, what):
    frames = list(frames_of(root))
    metric = filled(frames)
    before = numbers(metric)
    with pytest.raises(ValueError, match="frame 3 of 'north' was given twice with different boxes or identities"):
        metric.update(**{**frames[2], what: frames[2][what] + 1})
    assert numbers(metric) == before  # and the state is unchanged


def test_single_families_equal_all_families(root):
    frames = list(frames_of(root))
    whole = numbers(filled(frames))
    for metric, family in ((HOTA(), "HOTA"), (CLEAR(), "CLEAR"), (Identity(), "Identity")):
        assert numbers(filled(frames, metric)) == {name: whole[name] for name in HEADLINES[family]}


def test_metric_collection_shares_state(root):
    collection = MetricCollection([HOTA(), CLEAR(), Identity()])
    for frame in frames_of(root):
        collection.update(**frame)
    assert list(collection.compute_groups.values()) == [["HOTA", "CLEAR", "Identity"]]
    whole = numbers(filled(frames_of(root)))
    assert {name: value.item() for name, value in collection.compute().items()} == whole


def test_reset(root):
    metric = switch(filled(frames_of(root)))
    metric.reset()
    assert metric.frames == []
    assert numbers(switch(metric))["IDSW"] == 1
    metric.update("north", 1, [1], BOX, [1], BOX)  # is not compared with the frames before
    assert set(metric.per_sequence()) == {"clip", "north"}


def test_forward_adds_a_frame():
    metric = TrackingMetrics()
    assert metric("clip", 1, [5], BOX, [1], BOX) is None
    assert metric("clip", 2, [6], BOX, [1], BOX) is None
    assert numbers(metric)["IDSW"] == 1


def test_update_after_compute():
    metric = TrackingMetrics()
    metric.update("clip", 1, [5], BOX, [1], BOX)
    assert numbers(metric)["MOTA"] == 100
    metric.update("clip", 2, [], BOX[:0], [1], BOX)
    assert numbers(metric)["MOTA"] == 50


def saved(metric):
    """Save and load through a checkpoint."""
    metric.persistent(True)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    other = filled([], TrackingMetrics())
    other.update("other", 1, [9], BOX, [9], BOX)  # overwritten
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


def pickled(metric):
    return pickle.loads(pickle.dumps(metric))


@pytest.mark.parametrize("copied", [saved, pickled, copy.deepcopy, TrackingMetrics.clone, TrackingMetrics.cpu])
def test_copies_and_checkpoints_contain_state(root, copied):
    frames = list(frames_of(root))
    metric = copied(filled(frames[:40]))
    filled(frames[35:], metric)  # five of them are repeats
    assert plain(metric.per_sequence()) == plain(filled(frames).per_sequence())
    with pytest.raises(ValueError, match="given twice"):
        metric.update(**{**frames[0], "ids": frames[0]["ids"] + 1})


def test_state_is_not_persistent_by_default():
    assert switch(TrackingMetrics()).state_dict() == {}


def test_state_is_compact(root):
    metric = filled(frames_of(root))
    boxes = sum(scores["Dets"] + scores["GT_Dets"] for scores in metric.per_sequence().values())
    assert sum(frame.numel() * 8 for frame in metric.frames) <= 40 * boxes + 64 * len(metric.frames)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision(dtype):
    metric = TrackingMetrics()
    boxes = torch.tensor([[0, 0, 500, 500]], dtype=dtype)  # the area does not fit into float16
    metric.update("clip", 1, torch.tensor([5]), boxes, torch.tensor([1], dtype=torch.int32), boxes)
    assert numbers(metric)["LocA"] == 100
    assert metric.compute()["HOTA"].dtype == torch.float64
    metric.half()  # changes no state
    metric.update("clip", 2, torch.tensor([5]), boxes, torch.tensor([1]), boxes)
    assert numbers(metric)["HOTA"] == 100


def test_lists_arrays_and_tensors_with_gradient():
    metric = TrackingMetrics()
    metric.update("clip", torch.tensor(1), [5], [[0, 0, 10, 20]], np.array([1]), BOX.clone().requires_grad_())
    metric.update("clip", 2, [], [], [], [])
    metric.update("clip", 3, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), [1], BOX)
    assert (numbers(metric)["MOTA"], metric.per_sequence()["clip"]["CLR_Frames"]) == (50, 3)


def test_without_ground_truth_ratios_are_undefined():
    metric = TrackingMetrics()
    metric.update("clip", 1, [5], BOX, [], BOX[:0])
    scores = numbers(metric)
    assert np.isnan(scores["HOTA"])
    assert np.isnan(scores["MOTA"])
    assert scores["FP"] == 1
    empty = TrackingMetrics()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert np.isnan(numbers(empty)["HOTA"])


def test_rules_with_distractors():
    metric = TrackingMetrics("MOT17")
    boxes = torch.tensor([[0.0, 0, 10, 20], [50, 0, 60, 20], [90, 0, 99, 20]])
    metric.update("clip", 1, [5, 6, 7], boxes, [1, 2, 3], boxes, gt_classes=[1, 8, 1], gt_scores=[1, 0, 0])
    scores = metric.per_sequence()["clip"]
    assert (scores["CLR_TP"], scores["FP"], scores["FN"]) == (1, 1, 0)  # 6 is on a distractor, 7 on an uncounted box


def test_ignore_regions():
    for regions, errors in ((BOX, 0), (None, 1)):
        metric = TrackingMetrics()
        metric.update("clip", 1, [5, 6], torch.cat([BOX, BOX + 50]), [1], BOX + 50, ignore_boxes_xyxy=regions)
        assert numbers(metric)["FP"] == errors


def rejects(match, error=ValueError, metric=None, **changes):
    arguments = {"ids": [5], "boxes_xyxy": BOX, "gt_ids": [1], "gt_boxes_xyxy": BOX}
    with pytest.raises(error, match=match):
        (metric or TrackingMetrics()).update("clip", 7, **{**arguments, **changes})


def test_invalid_tables_are_rejected():
    rejects("ids in frame 7 of 'clip' must have one entry per box, got 2 for 1 boxes", ids=[5, 6])
    rejects(
        "gt_ids in frame 7 of 'clip' must be unique, got 1 more than", gt_ids=[1, 1], gt_boxes_xyxy=BOX.repeat(2, 1)
    )
    rejects("ids in frame 7 of 'clip' must be 0 or more, got -1", ids=[-1])
    rejects("ids in frame 7 of 'clip' must be integers, got float32", TypeError, ids=torch.tensor([5.0]))
    rejects(r"boxes_xyxy in frame 7 of 'clip' must have shape \(N, 4\), got \(1, 5\)", boxes_xyxy=torch.ones(1, 5))
    rejects(r"boxes_xyxy in .* must be finite, got \[nan, 0.0, 10.0, 20.0\] in row 0", boxes_xyxy=[[np.nan, 0, 10, 20]])
    rejects("gt_scores in .* must have one entry per box", gt_scores=[1, 1])
    rejects("gt_classes .*MOT17 needs the classes.*benchmark='generic'", metric=TrackingMetrics("MOT17"))
    rejects("no class in column 8.*MOT17", metric=TrackingMetrics("MOT17"), gt_classes=[-1])
    with pytest.raises(TypeError, match=r"sequence must be the name of one sequence, got \['a', 'b'\]"):
        TrackingMetrics().update(["a", "b"], 7, [5], BOX, [1], BOX)
    with pytest.raises(ValueError, match="KITTI scores several classes"):
        TrackingMetrics("KITTI")


def test_ground_truth_without_counted_rows_is_rejected():
    metric = TrackingMetrics()
    metric.update("clip", 1, [5], BOX, [1], BOX, gt_scores=[0])
    with pytest.raises(ValueError, match="ground truth given to update is empty under the rules of generic: none of"):
        metric.compute()


def test_missing_torchmetrics_names_install_command(monkeypatch):
    monkeypatch.delitem(sys.modules, "mot_core.evaluation.metric")
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ImportError, match=r"needs torchmetrics: pip install './packages/mot-core\[eval\]'"):
        _ = mot_core.evaluation.TrackingMetrics


@pytest.mark.slow
def test_two_processes_equal_one(root, tmp_path):
    """Frames split between two processes, with the repeats of a padded sampler; and all frames on one of them."""
    frames = list(frames_of(root))
    (tmp_path / "frames.pickle").write_bytes(pickle.dumps(frames))
    launch("metrics", tmp_path)
    expected = {"combined": numbers(filled(frames)), "HOTA": None}
    expected["HOTA"] = {name: one["HOTA"] for name, one in filled(frames).per_sequence().items()}
    for rank in range(2):
        report = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert report["dealt"] == expected
        assert report["all on one"] == expected
        assert "frame 1 of 'north' was given twice" in report["contradiction"]
