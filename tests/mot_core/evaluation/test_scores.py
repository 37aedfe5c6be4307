"""Scores of hand-made sequences, and invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.evaluation import Scores, score_sequence
from mot_core.evaluation.protocol import FramePair
from mot_core.evaluation.scores import HEADLINES, score_frames
from mot_core.io import BoxTable, make_scene

BOX = [0.0, 0.0, 10.0, 20.0]


def pairs(gt, results):
    """Frames from lists of identities; identities of a frame are 100 pixels apart."""

    def boxes(ids):
        return np.array([[100 * place, 0, 100 * place + 10, 20] for place in range(len(ids))], float).reshape(-1, 4)

    return [
        FramePair(np.array(g, np.int64), boxes(g), np.array(r, np.int64), boxes(r))
        for g, r in zip(gt, results, strict=True)
    ]


def test_perfect_results():
    scores = score_frames(pairs([[1, 2]] * 3, [[7, 9]] * 3))
    for name in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR"):
        assert scores[name] == 100
    assert (scores["CLR_TP"], scores["FP"], scores["FN"], scores["IDSW"], scores["MT"]) == (6, 0, 0, 0, 2)
    assert scores["HOTA_alpha"] == [100.0] * 19
    assert scores["HOTA_TP_alpha"] == [6] * 19


def test_identity_switch():
    scores = score_frames(pairs([[1]] * 4, [[7], [7], [8], [8]]))
    assert scores["MOTA"] == 75  # 1 - 1 switch / 4 boxes
    assert scores["IDF1"] == 50  # 2 of 4
    assert scores["DetA"] == 100
    assert scores["AssA"] == 50  # each match shares its two identities for 2 of 4 frames
    assert scores["HOTA"] == pytest.approx(100 * 0.5**0.5)


def test_misses_and_false_alarms():
    scores = score_frames(pairs([[1, 2], [1, 2]], [[7], [7, 8, 9]]))
    assert (scores["CLR_TP"], scores["FN"], scores["FP"]) == (3, 1, 1)
    assert scores["MOTA"] == 50
    assert scores["DetA"] == 60  # 3 / (3 + 1 + 1)


def test_field_types():
    scores = score_frames(pairs([[1]], [[7]]))
    for name in ("IDSW", "FP", "FN", "CLR_TP", "MT", "PT", "ML", "Frag", "IDTP", "IDFP", "IDFN", "Dets", "GT_IDs"):
        assert type(scores[name]) is int, name
    assert all(type(value) is int for value in scores["HOTA_FP_alpha"])
    for name in HEADLINES["HOTA"]:
        assert type(scores[name]) is float, name
    assert scores["FP"] == scores["CLR_FP"]
    assert scores["FN"] == scores["CLR_FN"]


def test_rates_and_sums_are_not_in_percent():
    scores = score_frames(pairs([[1], [1]], [[7, 8], [7]]))
    assert scores["FP_per_frame"] == 0.5
    assert scores["MOTP_sum"] == 2.0


def test_no_results_and_no_ground_truth():
    nothing_found = score_frames(pairs([[1, 2]], [[]]))
    assert (nothing_found["HOTA"], nothing_found["FN"], nothing_found["ML"]) == (0, 2, 2)
    nothing_there = score_frames(pairs([[]], [[7]]))
    assert (nothing_there["FP"], nothing_there["GT_Dets"]) == (1, 0)
    assert score_frames([])["CLR_Frames"] == 0


def test_combination_weights_boxes():
    good, bad = score_frames(pairs([[1]] * 9, [[7]] * 9)), score_frames(pairs([[1]], [[]]))
    combined = Scores.combine([good, bad])
    assert combined["MOTA"] == 90
    assert combined["HOTA_alpha"][0] == pytest.approx(100 * 0.9**0.5)


@pytest.fixture(scope="module")
def scene():
    scene = make_scene(seed=3, num_objects=8, num_frames=40)
    rng = np.random.default_rng(0)
    truth = scene.ground_truth
    results = truth.select(rng.random(len(truth)) > 0.2)
    ids = np.where(rng.random(len(results)) < 0.1, results.ids + 100, results.ids)
    boxes = results.boxes_xyxy + rng.normal(0, 4, results.boxes_xyxy.shape)
    return truth, BoxTable(results.frames, ids, boxes)


def score(truth, results):
    scores = score_sequence(truth, results, "generic", range(1, 41))["object"]
    return np.concatenate([np.atleast_1d(value) for value in scores.values()])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_identity_names_and_row_order_invariance(scene, seed):
    truth, results = scene
    rng = np.random.default_rng(seed)
    new_name = dict(zip(np.unique(results.ids).tolist(), rng.permutation(2**31 + np.arange(1000)), strict=False))
    order = rng.permutation(len(results))
    renamed = BoxTable(
        results.frames[order], [new_name[i] for i in results.ids[order].tolist()], results.boxes_xyxy[order]
    )
    np.testing.assert_allclose(score(truth, renamed), score(truth, results), rtol=1e-12)


def test_translation_invariance(scene):
    truth, results = scene
    moved = [BoxTable(one.frames, one.ids, one.boxes_xyxy + 1024) for one in scene]
    np.testing.assert_allclose(score(*moved), score(truth, results), rtol=1e-9)


def rejects(match, truth, results, benchmark="generic", frames=range(1, 3)):
    with pytest.raises(ValueError, match=match):
        score_sequence(truth, results, benchmark, frames, name="clip")


def test_invalid_tables_are_rejected():
    truth, results = BoxTable([1, 2], [1, 1], [BOX, BOX]), BoxTable([1, 2], [7, 7], [BOX, BOX])
    rejects("frame 3, but the sequence has frames 1 to 2", truth, BoxTable([3], [7], [BOX]))
    rejects("frame 0, but the sequence", truth, BoxTable([0], [7], [BOX]))
    rejects("frame 3, but the sequence", BoxTable([3], [7], [BOX]), results)
    rejects("got -1 in frame 1.*track them first", truth, BoxTable([1], [-1], [BOX]))
    rejects("id 7 is already in frame 1", truth, BoxTable([1, 1], [7, 7], [BOX, BOX]))
    rejects("id 1 is already in frame 1", BoxTable([1, 1], [1, 1], [BOX, BOX]), results)
    rejects("results of clip.*not finite", truth, BoxTable([1], [7], [[0, 0, np.nan, 1]]))
    rejects("ground truth of clip.*not finite", BoxTable([1], [7], [[0, 0, np.inf, 1]]), results)
    rejects("there is no benchmark 'MOT18'", truth, results, "MOT18")


def test_mismatched_rules_are_rejected():
    results = BoxTable([1], [7], [BOX])
    mot15 = BoxTable([1], [1], [BOX], classes=[-1])
    rejects("no class in column 8.*MOT17 need one of 1 to 13.*generic", mot15, results, "MOT17")
    rejects("class 17 in column 8", BoxTable([1], [1], [BOX], classes=[17]), results, "MOT17")
    person = BoxTable([1], [1], [BOX], classes=[1])
    rejects("class 3, but MOT17 scores pedestrians", person, BoxTable([1], [7], [BOX], classes=[3]), "MOT17")


def test_classes_of_results():
    person = BoxTable([1], [1], [BOX], classes=[1])
    for label in (-1, 0, 1):
        results = BoxTable([1], [7], [BOX], classes=[label])
        assert score_sequence(person, results, "MOT17", range(1, 2))["pedestrian"]["MOTA"] == 100


def test_dont_care_results_are_removed():
    from mot_core.io import KITTI_CLASSES

    car = BoxTable([0], [1], [[0, 0, 90, 60]], classes=[0], truncation=[0], occlusion=[0])
    rows = BoxTable([0, 0, 0], [5, -1, -1], [[0, 0, 90, 60]] * 3, classes=[0] + [KITTI_CLASSES.index("DontCare")] * 2)
    assert score_sequence(car, rows, "KITTI", range(1))["car"]["MOTA"] == 100
