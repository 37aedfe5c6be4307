"""Scores of random results: files against TrackEval and py-motmetrics, and frame by frame against whole files."""

import contextlib
import io
import re

import numpy as np

from fuzz.damage import one_of, outcome
from mot_core.evaluation import evaluate
from mot_core.io import BoxTable, make_scene, read_mot, write_mot


def case(rng, folder):
    names = ["a", "b"][: int(rng.integers(1, 3))]
    benchmark = one_of(rng, ["generic", "MOT17", "MOT20", "MOT15"])
    frames = int(rng.integers(3, 20))
    tables = {}
    for name in names:
        truth = _truth(rng, frames, benchmark)
        found = _results(rng, truth, frames)
        scene = make_scene(num_objects=1, num_frames=frames)
        path = scene.save(folder / "gt", name)
        _write(path / "gt/gt.txt", truth, benchmark != "MOT15")
        write_mot(folder / "results" / "data" / f"{name}.txt", found, kind="results")
        tables[name] = (
            read_mot(path / "gt/gt.txt", kind="ground_truth"),
            read_mot(folder / "results" / "data" / f"{name}.txt", kind="results"),
        )
    counts = {name: _counted(truth, benchmark) for name, (truth, _) in tables.items()}
    ours, error = outcome(evaluate, folder / "results", folder / "gt", benchmark=benchmark)
    if error is not None:
        assert re.search("is empty under the rules|has no boxes to score against", str(error)), error
        assert any(not count.any() for count in counts.values())
        return
    if benchmark != "generic":
        _compare_with_trackeval(ours, folder, names, benchmark)
    else:
        _compare_with_motmetrics(ours, tables, frames)


def _truth(rng, frames, benchmark):
    scene = make_scene(num_objects=int(rng.integers(1, 8)), num_frames=frames, seed=int(rng.integers(2**31)))
    table = scene.ground_truth
    rows = rng.random(len(table)) < rng.uniform(0.3, 1)
    table = table.select(rows)
    boxes = table.boxes_xyxy.copy()
    flat = rng.random(len(table)) < 0.03
    boxes[flat, 2] = boxes[flat, 0]
    by_id = rng.choice([1, 1, 1, 2, 7, 8, 12, 3, 6], 1000) if benchmark in ("MOT17", "MOT20") else np.ones(1000, int)
    scores = np.where(rng.random(len(table)) < 0.1, 0, 1)
    return BoxTable(table.frames, table.ids, boxes, scores, by_id[table.ids % 1000], table.visibility)


def _results(rng, truth, frames):
    kept = truth.select(rng.random(len(truth)) < rng.uniform(0, 1))
    ids = np.where(rng.random(len(kept)) < 0.1, rng.permutation(len(kept)) + 500, kept.ids)
    boxes = kept.boxes_xyxy + rng.normal(0, rng.uniform(0, 15), kept.boxes_xyxy.shape)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    extra = int(rng.integers(0, 10))
    corner = rng.uniform(0, 500, (extra, 2))
    clutter = np.concatenate([corner, corner + rng.uniform(0, 80, (extra, 2))], 1)
    return BoxTable(
        np.concatenate([kept.frames, rng.integers(1, frames + 1, extra)]),
        np.concatenate([ids, 2000 + np.arange(extra)]),
        np.concatenate([boxes, clutter]),
    )


def _write(path, table, with_class):
    rows = zip(table.frames, table.ids, table.boxes_xyxy, table.scores, table.classes, table.visibility, strict=True)
    lines = []
    for frame, identity, box, score, label, visible in rows:
        left, top = box[:2]
        wide, high = box[2:] - box[:2]
        end = f"{label:d},{visible:.3f}" if with_class else "-1,-1,-1"
        lines.append(f"{frame},{identity},{left:.3f},{top:.3f},{wide:.3f},{high:.3f},{score:.0f},{end}\n")
    path.write_text("".join(lines))


def _counted(truth, benchmark):
    counted = np.trunc(truth.scores) != 0
    return counted & (truth.classes == 1) if benchmark in ("MOT17", "MOT20") else counted


def _compare_with_trackeval(ours, folder, names, benchmark):
    with contextlib.redirect_stdout(io.StringIO()):
        from trackeval.datasets import MotChallenge2DBox
        from trackeval.metrics import CLEAR, HOTA, Identity

        dataset = MotChallenge2DBox(
            {
                "GT_FOLDER": str(folder / "gt"),
                "TRACKERS_FOLDER": str(folder),
                "TRACKERS_TO_EVAL": ["results"],
                "BENCHMARK": benchmark,
                "SKIP_SPLIT_FOL": True,
                "SEQ_INFO": dict.fromkeys(names),
                "PRINT_CONFIG": False,
            }
        )
        metrics = [HOTA(), CLEAR({"PRINT_CONFIG": False}), Identity({"PRINT_CONFIG": False})]
        data = {
            name: dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("results", name), "pedestrian")
            for name in names
        }
        for metric in metrics:
            parts = {name: metric.eval_sequence(data[name]) for name in names}
            both = {**parts, "COMBINED": metric.combine_sequences(parts)}
            for name, theirs in both.items():
                scores = ours.combined if name == "COMBINED" else ours.sequences[name]
                for field in metric.integer_fields:
                    assert scores[field] == theirs[field], (name, field)
                for field in metric.float_array_fields:
                    np.testing.assert_array_equal(scores[f"{field}_alpha"], 100 * theirs[field], err_msg=field)
                for field in metric.float_fields:
                    factor = 1 if field in ("FP_per_frame", "MOTP_sum") else 100
                    assert scores[field] == factor * float(theirs[field]), (name, field)


def _compare_with_motmetrics(ours, tables, frames):
    """Identity scores and counts that do not depend on the matching rule of CLEAR."""
    try:
        import motmetrics
    except ModuleNotFoundError:
        return  # only `nox -s fuzz` installs it
    for name, (truth, found) in tables.items():
        truth = truth.select(np.trunc(truth.scores) != 0)
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for frame in range(1, frames + 1):
            rows, columns = truth.frame(frame), found.frame(frame)
            distance = 1 - _overlap(truth.boxes_xyxy[rows], found.boxes_xyxy[columns])
            distance[distance > 0.5] = np.nan
            accumulator.update(truth.ids[rows], found.ids[columns], distance)
        names = ["idtp", "idfp", "idfn", "num_objects", "num_predictions"]
        theirs = motmetrics.metrics.create().compute(accumulator, metrics=names, return_dataframe=False)
        scores = ours.sequences[name]
        expected = [scores["IDTP"], scores["IDFP"], scores["IDFN"], scores["GT_Dets"], scores["Dets"]]
        assert [int(theirs[key]) for key in names] == expected, name


def _overlap(one, other):
    result = np.zeros((len(one), len(other)))
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            wide = min(a[2], b[2]) - max(a[0], b[0])
            high = min(a[3], b[3]) - max(a[1], b[1])
            if wide > 0 and high > 0:
                area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
                result[i, j] = wide * high / area
    return result
