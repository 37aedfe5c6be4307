"""Our scores equal TrackEval's on real results: its own tables, its own code, and published tables.

MOT_DATA=... MOT_GOLDEN=... pytest tests/parity/test_evaluation_parity.py
"""

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from mot_core.evaluation import evaluate
from mot_core.evaluation._trackeval import trackeval_metrics
from mot_core.io import KITTI_CLASSES, find_sequences, read_kitti, read_mot

REFERENCES = [
    pytest.param("MOT17", "MPNTrack", marks=pytest.mark.slow),
    pytest.param("MOT17", "Lif_T", marks=pytest.mark.slow),
    ("MOT17", "imzhangyd17dim"),
    ("MOT15", "py-motmetrics-test"),
]
# data/README.md, "Numbers to compare with": HOTA, DetA, AssA, MOTA, IDF1, IDSW.
COMBINED = {
    "MPNTrack": (61.670, 56.825, 67.096, 63.392, 70.995, 328),
    "Lif_T": (62.171, 58.309, 66.405, 65.653, 71.912, 527),
    "imzhangyd17dim": (76.482, 80.688, 72.890, 90.729, 82.132, 394),
}
NOT_IN_PERCENT = {"FP_per_frame", "MOTP_sum"}


def in_fractions(scores):
    """Return the report of one sequence as the columns of TrackEval's detailed table."""
    row = {}
    fields = dict(scores)
    for family, metric in trackeval_metrics().items():
        for name in metric.float_array_fields + metric.integer_array_fields:
            scale = 100 if name in metric.float_array_fields else 1
            values = fields[f"{name}_alpha"]
            row |= {f"{name}___{5 * number}": value / scale for number, value in enumerate(values, 1)}
            row[f"{name}___AUC"] = fields[name] / scale
        for name in metric.float_fields:
            row[name] = fields[name] / (1 if name in NOT_IN_PERCENT else 100)
        row |= {name: fields[name] for name in metric.integer_fields}
        assert row, family
    return row


def combined_by_trackeval(rows):
    """Return TrackEval's combination of the rows of its table, as another row."""
    combined = {}
    for metric in trackeval_metrics().values():
        arrays = metric.float_array_fields + metric.integer_array_fields
        plain = metric.float_fields + metric.integer_fields
        parts = {
            name: {field: np.array([float(row[f"{field}___{5 * n}"]) for n in range(1, 20)]) for field in arrays}
            | {field: float(row[field]) for field in plain}
            for name, row in rows.items()
        }
        for field, value in metric.combine_sequences(parts).items():
            if field in arrays:
                combined |= {f"{field}___{5 * number}": entry for number, entry in enumerate(value, 1)}
                combined[f"{field}___AUC"] = np.mean(value)
            else:
                combined[field] = value
    return combined


@pytest.mark.parametrize(("benchmark", "tracker"), REFERENCES)
def test_every_field_of_the_reference_tables(mot_data, benchmark, tracker):
    report = evaluate(mot_data / f"trackers/{benchmark}-train/{tracker}", mot_data / benchmark / "train").to_dict()
    table = mot_data / f"trackers/reference_metrics/{tracker}_trackeval_detailed.csv"
    with table.open(newline="") as file:
        rows = {row.pop("seq"): row for row in csv.DictReader(file)}
    ours = {name: in_fractions(scores) for name, scores in report["sequences"].items()}
    ours["COMBINED"] = in_fractions(report["combined"])
    assert ours.keys() - {"COMBINED"} == rows.keys() - {"COMBINED"}
    rows.setdefault("COMBINED", combined_by_trackeval(rows))
    for name, row in rows.items():
        assert ours[name].keys() == row.keys()
        expected = {field: pytest.approx(float(value), rel=1e-6, abs=1e-12) for field, value in row.items()}
        assert ours[name] == expected, name
    if tracker in COMBINED:
        numbers = [round(report["combined"][name], 3) for name in ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW")]
        assert tuple(numbers) == COMBINED[tracker]


@pytest.mark.parametrize(("tracker", "benchmark"), [("bytetrack", "MOT17"), ("ocsort", "DanceTrack")])
def test_scores_of_official_results_equal_published_ones(mot_data, mot_golden, tracker, benchmark):
    split = {"MOT17": "train", "DanceTrack": "val"}[benchmark]
    report = evaluate(mot_data / f"trackers/official/{tracker}/{benchmark}", mot_data / benchmark / split).to_dict()
    golden = json.loads((mot_golden / "bytetrack_association.json").read_text())["results"][f"{tracker}/{benchmark}"]
    ours = report["sequences"] | {"COMBINED": report["combined"]}
    assert ours.keys() == golden.keys()
    for name, expected in golden.items():
        fields = expected.keys() - {"rows", "tracks", "sha256"}
        assert {field: round(ours[name][field], 4) for field in fields} == {field: expected[field] for field in fields}


def test_streaming_equals_files_with_benchmark_rules(mot_data):
    from mot_core.evaluation import TrackingMetrics

    results = mot_data / "trackers/official/bytetrack/MOT17/MOT17-05-FRCNN.txt"
    (sequence,) = find_sequences(mot_data / "MOT17/train/MOT17-05-FRCNN")
    truth, found = sequence.ground_truth(), read_mot(results, kind="results")
    metric = TrackingMetrics("MOT17")
    for frame in sequence.frame_numbers():
        rows, gt = found.frame(frame), truth.frame(frame)
        metric.update(
            sequence.name,
            frame,
            found.ids[rows],
            found.boxes_xyxy[rows],
            truth.ids[gt],
            truth.boxes_xyxy[gt],
            gt_classes=truth.classes[gt],
            gt_scores=truth.scores[gt],
        )
    evaluation = evaluate(results, sequence.path)
    assert dict(metric.per_sequence()[sequence.name]) == dict(evaluation.combined)


def oracle(dataset, tracker, class_name):
    """Run TrackEval from files to scores: per sequence and combined, by family."""
    scores = {}
    for sequence in dataset.seq_list:
        raw = dataset.get_raw_seq_data(tracker, sequence)
        data = dataset.get_preprocessed_seq_data(raw, class_name)
        scores[sequence] = {family: metric.eval_sequence(data) for family, metric in trackeval_metrics().items()}
    scores["COMBINED"] = {
        family: metric.combine_sequences({name: one[family] for name, one in scores.items()})
        for family, metric in trackeval_metrics().items()
    }
    return scores


def assert_identical(ours, theirs):
    """Assert bit-identical scores."""
    assert ours.keys() == theirs.keys()
    for name, families in theirs.items():
        for family, fields in families.items():
            for field, value in fields.items():
                np.testing.assert_array_equal(ours[name].fractions[family][field], value, f"{name} {field}")


def mot_dataset(ground_truth, benchmark, results, tracker, sequences):
    from trackeval.datasets import MotChallenge2DBox

    with contextlib.redirect_stdout(io.StringIO()):
        return MotChallenge2DBox(
            {
                "GT_FOLDER": str(ground_truth),
                "TRACKERS_FOLDER": str(results),
                "TRACKERS_TO_EVAL": [tracker],
                "TRACKER_SUB_FOLDER": "",
                "BENCHMARK": benchmark,
                "SKIP_SPLIT_FOL": True,
                "SEQ_INFO": dict.fromkeys(sequences),
                "PRINT_CONFIG": False,
            }
        )


def links_to(paths, folder):
    """Create a folder with links to some files."""
    folder.mkdir(parents=True)
    for path in paths:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize(
    ("benchmark", "ground_truth", "results"),
    [
        ("MOT17", "MOT17/train", "trackers/official/bytetrack/MOT17/*-0[25]-*"),
        ("DanceTrack", "DanceTrack/val", "trackers/official/ocsort/DanceTrack/*001*"),
        ("MOT15", "MOT15/train", "trackers/MOT15-train/py-motmetrics-test/data/*"),
    ],
)
def test_identical_to_trackeval_on_mot(mot_data, tmp_path, benchmark, ground_truth, results):
    files = sorted(mot_data.glob(results))
    evaluation = evaluate(links_to(files, tmp_path / "tracker"), mot_data / ground_truth)
    assert evaluation.benchmark == benchmark
    rules = "MOT17" if benchmark == "DanceTrack" else benchmark
    dataset = mot_dataset(mot_data / ground_truth, rules, tmp_path, "tracker", [file.stem for file in files])
    ours = evaluation.sequences | {"COMBINED": evaluation.combined}
    assert len(ours) > 2
    assert_identical(ours, oracle(dataset, "tracker", "pedestrian"))


def corrupt(labels: Path, detections: Path, seed: int) -> list[str]:
    """Write KITTI results made from labels: boxes moved, some lost, some identities swapped, detections as clutter."""
    rng = np.random.default_rng(seed)
    table = read_kitti(labels, kind="ground_truth")
    table = table.select((table.ids >= 0) & (rng.random(len(table)) > 0.1))
    size = (table.boxes_xyxy[:, 2:] - table.boxes_xyxy[:, :2]).repeat(2, axis=0).reshape(-1, 4)
    boxes = table.boxes_xyxy + rng.normal(0, 0.05, table.boxes_xyxy.shape) * size
    ids = np.where(rng.random(len(table)) < 0.02, table.ids + 1000, table.ids)
    rows = zip(table.frames, ids, table.classes, boxes, strict=True)
    lines = [_kitti_line(*row) for row in rows]
    clutter = read_kitti(detections, kind="detections")
    clutter = clutter.select(rng.random(len(clutter)) < 0.3)
    rows = zip(clutter.frames, range(2000, 2000 + len(clutter)), clutter.classes, clutter.boxes_xyxy, strict=True)
    return lines + [_kitti_line(*row) for row in rows]


def _kitti_line(frame, identity, label, box):
    corners = " ".join(f"{value:.4f}" for value in box)
    return f"{frame} {identity} {KITTI_CLASSES[label]} -1 -1 -10 {corners} -1 -1 -1 -1000 -1000 -1000 -10 0.9\n"


def test_kitti_windows_without_a_class_are_scored_as_in_trackeval(tmp_path):
    from trackeval.datasets import Kitti2DBox

    whole, window, results = (tmp_path / name for name in ("whole/label_02", "window/label_02", "ours/data"))
    for folder in (whole, window, results):
        folder.mkdir(parents=True)
    first = {"0000": ("Car",), "0001": ("Pedestrian",), "0002": ("Van",), "0003": ("Car", "Pedestrian"), "0004": ()}
    for name, labels in first.items():
        start = [_kitti_label(frame, label) for frame in (0, 1) for label in labels]
        later = [_kitti_label(frame, label) for frame in (2, 3) for label in ("Car", "Pedestrian")]
        (whole / f"{name}.txt").write_text("".join(start + later))
        (window / f"{name}.txt").write_text("".join(start))
        found = [_kitti_line(0, 1, 0, [2, 0, 92, 60])] if name != "0003" else []
        (results / f"{name}.txt").write_text("".join(found))
    seqmap = "".join(f"{name} empty 000000 000002\n" for name in first)
    (tmp_path / "window/evaluate_tracking.seqmap.training").write_text(seqmap)

    config = {"GT_FOLDER": str(tmp_path / "window"), "TRACKERS_FOLDER": str(tmp_path), "TRACKERS_TO_EVAL": ["ours"]}
    dataset = Kitti2DBox({**config, "PRINT_CONFIG": False})
    evaluation = evaluate(tmp_path / "ours", tmp_path / "whole", frames=(0, 1))
    for label, scores in evaluation.classes.items():
        assert_identical(dict(scores.rows()), oracle(dataset, "ours", label))


def _kitti_label(frame, label):
    left = 200 * KITTI_CLASSES.index(label)
    return f"{frame} {KITTI_CLASSES.index(label)} {label} 0 0 -10 {left} 0 {left + 90} 60 -1 -1 -1 -1 -1 -1 -10\n"


def test_identical_to_trackeval_on_kitti(mot_data, tmp_path):
    from trackeval.datasets import Kitti2DBox

    source = mot_data / "KITTI/training"
    links_to(sorted(source.glob("label_02/000[0-5].txt")), tmp_path / "gt/label_02")
    with (source / "evaluate_tracking.seqmap.training").open() as seqmap:
        rows = [row for row in seqmap if (tmp_path / "gt/label_02" / f"{row[:4]}.txt").exists()]
    (tmp_path / "gt/evaluate_tracking.seqmap.training").write_text("".join(rows))
    results = tmp_path / "ours" / "data"
    results.mkdir(parents=True)
    for seed, labels in enumerate(sorted((tmp_path / "gt/label_02").iterdir())):
        (results / labels.name).write_text("".join(corrupt(labels, source / "det" / labels.name, seed)))

    evaluation = evaluate(tmp_path / "ours", tmp_path / "gt")
    config = {"GT_FOLDER": str(tmp_path / "gt"), "TRACKERS_FOLDER": str(tmp_path), "TRACKERS_TO_EVAL": ["ours"]}
    dataset = Kitti2DBox({**config, "PRINT_CONFIG": False})
    assert evaluation.classes.keys() == {"car", "pedestrian"}
    for label, scores in evaluation.classes.items():
        assert 20 < scores.combined["HOTA"] < 90  # neither perfect nor zero, so that every step matters
        assert_identical(dict(scores.rows()), oracle(dataset, "ours", label))
