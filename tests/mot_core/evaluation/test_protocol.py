"""The boxes of a frame that count, by hand and against TrackEval's own preprocessing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.evaluation import score_sequence
from mot_core.evaluation.protocol import prepare_frame, roles
from mot_core.evaluation.sequence import prepare_frames
from mot_core.io import BENCHMARKS, BoxTable

GENERIC, UAVDT, KITTI = BENCHMARKS["generic"], BENCHMARKS["UAVDT"], BENCHMARKS["KITTI"]


def box(left, top=0, width=100, height=100):
    return [left, top, left + width, top + height]


def prepare(gt, results, benchmark, *, counted=None, distractor=None, ignore=None):
    gt, results = (np.array(boxes, float).reshape(-1, 4) for boxes in (gt, results))
    return prepare_frame(
        np.arange(len(gt)),
        gt,
        np.arange(len(results)),
        results,
        counted=np.ones(len(gt), bool) if counted is None else np.array(counted, bool),
        distractor=np.zeros(len(gt), bool) if distractor is None else np.array(distractor, bool),
        benchmark=benchmark,
        ignore_boxes_xyxy=None if ignore is None else np.array(ignore, float).reshape(-1, 4),
    )


@pytest.mark.parametrize(
    ("shift", "kept"),
    [
        (0, []),
        (33, []),  # IoU 67/133 = 0.504
        (34, [0]),  # IoU 66/134 = 0.493: not matched
        (200, [0]),
    ],
)
def test_results_on_a_distractor_are_removed(shift, kept):
    pair = prepare([box(0)], [box(shift)], BENCHMARKS["MOT17"], counted=[False], distractor=[True])
    assert pair.ids.tolist() == kept
    assert len(pair.gt_ids) == 0


def test_iou_of_exactly_half_is_a_match():
    pair = prepare([box(0, width=100)], [box(0, width=50)], GENERIC, counted=[False], distractor=[True])
    assert len(pair.ids) == 0


def test_each_distractor_takes_one_result():
    """Hungarian matching: the second result on the same distractor stays, as an error."""
    pair = prepare([box(0)], [box(5), box(1)], BENCHMARKS["MOT17"], counted=[False], distractor=[True])
    assert pair.ids.tolist() == [0]


def test_counted_box_takes_precedence_over_distractor():
    """The matching maximizes the sum: result 0 belongs to the person although it overlaps the distractor too."""
    pair = prepare([box(0), box(30)], [box(10), box(28)], BENCHMARKS["MOT17"], counted=[1, 0], distractor=[0, 1])
    assert pair.ids.tolist() == [0]


@pytest.mark.parametrize("benchmark", [UAVDT, GENERIC])
@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (199, []),  # 100/199 of it inside
        (200, [0]),  # exactly half is not mostly
    ],
)
def test_unmatched_results_mostly_inside_an_ignore_region_do_not_count(benchmark, width, kept):
    assert prepare([], [box(0, width=width)], benchmark, ignore=[box(0)]).ids.tolist() == kept


def test_matched_results_inside_an_ignore_region_count():
    assert prepare([box(0)], [box(3)], UAVDT, ignore=[box(0, width=500)]).ids.tolist() == [0]


def test_ignore_regions_are_not_summed():
    assert prepare([], [box(0)], UAVDT, ignore=[box(0, width=40), box(60, width=40)]).ids.tolist() == [0]


def test_ignore_regions_have_no_effect_in_other_benchmarks():
    assert prepare([], [box(0)], BENCHMARKS["MOT17"], ignore=[box(0)]).ids.tolist() == [0]


@pytest.mark.parametrize(("height", "kept"), [(25, []), (26, [0])])
def test_unmatched_low_results_do_not_count_in_kitti(height, kept):
    assert prepare([], [box(0, height=height)], KITTI).ids.tolist() == kept
    assert prepare([box(0, height=height)], [box(0, height=height)], KITTI).ids.tolist() == [0]


def test_results_without_area_are_errors_and_match_nothing():
    pair = prepare([box(0)], [[5, 5, 5, 50]], UAVDT, ignore=[box(0)])
    assert pair.ids.tolist() == [0]
    assert pair.similarity().tolist() == [[0.0]]


def kitti_table(**columns):
    rows = len(columns["classes"])
    boxes = [box(200 * row) for row in range(rows)]
    return BoxTable([0] * rows, range(rows), boxes, **columns)


def test_kitti_roles():
    table = kitti_table(classes=[0, 0, 0, 1, 3], truncation=[0, 1, 0, 0, 0], occlusion=[2, 0, 3, 0, 0])
    present, counted, distractor = roles(table, KITTI, KITTI.classes[0])
    assert present.tolist() == [True, True, True, True, False]  # the pedestrian does not take part for cars
    assert counted.tolist() == [True, False, False, False, False]
    assert distractor.tolist() == [False, True, True, True, False]


def test_kitti_scores_each_class_separately():
    table = kitti_table(classes=[0, 3], truncation=[0, 0], occlusion=[0, 0])
    cars_only = BoxTable([0, 0], [0, 1], [box(0), box(200)], classes=[0, 0])
    scores = score_sequence(table, cars_only, "KITTI", range(1))
    assert (scores["car"]["CLR_TP"], scores["car"]["FP"]) == (1, 1)
    assert (scores["pedestrian"]["CLR_TP"], scores["pedestrian"]["FN"]) == (0, 1)


# Positions on a coarse grid, so that ties, equal boxes and overlaps of exactly one half occur.
BOXES = st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(0, 3)] * 2).map(
    lambda v: [10 * v[0], 10 * v[1], 10 * (v[0] + v[2]), 10 * (v[1] + v[3])]
)
MOT_ROWS = st.lists(st.tuples(BOXES, st.integers(1, 13), st.integers(0, 1)), max_size=6)
FRAMES = st.lists(st.tuples(MOT_ROWS, st.lists(BOXES, max_size=6)), min_size=1, max_size=3)


def trackeval_preprocessing(frames, benchmark):
    """TrackEval's own code on arrays, without its files."""
    from trackeval.datasets import MotChallenge2DBox

    dataset = object.__new__(MotChallenge2DBox)
    dataset.benchmark, dataset.do_preproc = benchmark, True
    dataset.class_name_to_class_id = {"pedestrian": 1, "person_on_vehicle": 2, "non_mot_vehicle": 6, "static_person": 7}
    dataset.class_name_to_class_id |= {"distractor": 8, "reflection": 12}
    dataset.valid_class_numbers = list(range(1, 14))
    raw = {key: [] for key in ("gt_ids", "gt_dets", "gt_classes", "gt_extras", "tracker_ids", "tracker_dets")}
    raw |= {"tracker_classes": [], "tracker_confidences": [], "similarity_scores": [], "seq": "x"}
    raw["num_timesteps"] = len(frames)
    for rows, results in frames:
        gt = np.array([row[0] for row in rows], float).reshape(-1, 4)
        found = np.array(results, float).reshape(-1, 4)
        raw["gt_ids"].append(np.arange(len(gt)))
        raw["gt_dets"].append(gt)
        raw["gt_classes"].append(np.array([row[1] for row in rows], int))
        raw["gt_extras"].append({"zero_marked": np.array([row[2] for row in rows], int)})
        raw["tracker_ids"].append(np.arange(len(found)))
        raw["tracker_dets"].append(found)
        raw["tracker_classes"].append(np.ones(len(found), int))
        raw["tracker_confidences"].append(np.ones(len(found)))
        raw["similarity_scores"].append(dataset._calculate_box_ious(gt.copy(), found.copy(), box_format="x0y0x1y1"))
    return dataset.get_preprocessed_seq_data(raw, "pedestrian")


@given(FRAMES, st.sampled_from(["MOT15", "MOT17", "MOT20"]))
@settings(max_examples=150, deadline=None)
def test_preprocessing_equals_trackeval(frames, benchmark):
    expected = trackeval_preprocessing(frames, benchmark)
    gt = [(t, n, *row) for t, (rows, _) in enumerate(frames, 1) for n, row in enumerate(rows)]
    found = [(t, n, b) for t, (_, results) in enumerate(frames, 1) for n, b in enumerate(results)]
    columns = [list(column) for column in zip(*gt, strict=True)] or [[]] * 5
    truth = BoxTable(columns[0], columns[1], columns[2], classes=columns[3], scores=columns[4])
    columns = [list(column) for column in zip(*found, strict=True)] or [[]] * 3
    rules = BENCHMARKS[benchmark]
    pairs = list(
        prepare_frames(truth, BoxTable(*columns), BoxTable.empty(), rules, rules.classes[0], range(1, len(frames) + 1))
    )
    for t, pair in enumerate(pairs):
        np.testing.assert_array_equal(pair.boxes_xyxy, expected["tracker_dets"][t])
        np.testing.assert_array_equal(pair.gt_boxes_xyxy, expected["gt_dets"][t])
        np.testing.assert_array_equal(pair.similarity(), expected["similarity_scores"][t])


def test_custom_benchmark():
    """A custom benchmark needs no code: here, dogs (class 2) are distractors."""
    pets = replace(
        BENCHMARKS["MOT17"], name="pets", classes=(replace(BENCHMARKS["MOT17"].classes[0], distractors=(2,)),)
    )
    truth = BoxTable([1, 1], [1, 2], [box(0), box(300)], classes=[1, 2])
    results = BoxTable([1, 1], [5, 6], [box(0), box(300)])
    assert score_sequence(truth, results, pets, range(1, 2))["pedestrian"]["MOTA"] == 100
