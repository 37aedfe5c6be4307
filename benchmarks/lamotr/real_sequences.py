"""Learned costs for ByteTrack on real sequences, from boxes and motion: SGLA, and other ways to learn a cost.

    python -m benchmarks.lamotr.real_sequences --data FOLDER  run what is missing in the results
    python -m benchmarks.lamotr.real_sequences --table        print the tables

All costs are trained on the same sequences of DanceTrack, SportsMOT and MOT17 at every, every third and every fifth
frame, use the thresholds that are best on others, and are tested on a third set: the splits of
``examples/unitrack_association``. "IoU" is ByteTrack as it is. "two-way cross-entropy" is the transformer of that
example. "em-kalman" is trained on the same detections without their identities. A run appends a line to
``results/lamotr/real_sequences.jsonl`` and takes a few minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from benchmarks.pages import fill, markdown, spread
from benchmarks.paired import read
from benchmarks.provenance import RESULTS_FOLDER, ROOT, provenance

sys.path.insert(0, str(ROOT / "examples"))
from unitrack_association.model import LearnedCost
from unitrack_association.recording import record
from unitrack_association.scoring import METRICS
from unitrack_association.train import Config, train
from unitrack_association.videos import Video, load

from em_kalman import DetectionSequence, EMKalmanCost, MotionModel, NeuralKalmanFilter, Schedule, WindowSampler, fit
from lamotr import CostTraining, LAMOTRCost, learn_cost, record_associations
from mot_core.association import ByteTrack
from mot_core.evaluation import Scores, score_sequence
from mot_core.io import BoxTable

RESULTS = RESULTS_FOLDER / "lamotr/real_sequences.jsonl"
PAGE = ROOT / "docs" / "lamotr_results.md"
MEASURED = ("packages/lamotr/src", "packages/mot-core/src/mot_core/association", "examples/unitrack_association")
SEEDS = (0, 1, 2)
LONGEST = {"train": 300, "val": 150, "test": 150}  # frames of a video, after subsampling
STRIDES = {"train": (1, 3, 5), "val": (3, 5), "test": (1, 3, 5)}
WINDOWS = 260  # training windows of em-kalman
# Thresholds of the three stages of ByteTrack: its own for IoU, and two for probabilities, of which one is chosen.
THRESHOLDS = [(0.95, 0.7, 0.9), (0.98, 0.7, 0.97)]

Cost = Callable[[Video], Any]
"""Return the cost for a video; some depend on its image size."""
Line = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Sequence:
    """A subsampled video with the methods of a sequence that ``record_associations`` uses."""

    video: Video

    @property
    def rules(self) -> _Sequence:
        return self

    def counted(self, table: BoxTable) -> np.ndarray:
        """Return all objects: distractors are not known by their boxes."""
        return np.ones(len(table), bool)

    def ground_truth(self) -> BoxTable:
        """Return the objects that are evaluated."""
        ids = [frame.gt_ids for frame in self.video.frames]
        return _table(ids, [frame.gt_boxes_xyxy for frame in self.video.frames])

    def detections(self) -> BoxTable:
        """Return the detections with their scores."""
        frames = self.video.frames
        scores = np.concatenate([frame.scores for frame in frames])
        table = _table([np.full(len(frame.scores), -1) for frame in frames], [frame.boxes_xyxy for frame in frames])
        return BoxTable(table.frames, table.ids, table.boxes_xyxy, scores)

    def frame_numbers(self) -> range:
        """Return the numbers of the frames."""
        return range(1, len(self.video.frames) + 1)


def _table(ids: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> BoxTable:
    numbers = np.repeat(np.arange(len(ids)) + 1, [len(one) for one in ids])
    return BoxTable(numbers, np.concatenate(ids), np.concatenate(boxes))


def train_sgla(videos: Sequence[Video], seed: int, training: CostTraining | None = None) -> Cost:
    """Train SGLA on recorded associations."""
    sequences = [_Sequence(video) for video in videos]
    records = [one for each in sequences for one in record_associations(each, each.detections())]  # type: ignore[arg-type]
    model = learn_cost(records, training or CostTraining(seed=seed))
    return lambda video: LAMOTRCost(model=model)


def train_two_way(videos: Sequence[Video], seed: int, config: Config | None = None) -> Cost:
    """Train the transformer of the example with cross-entropy over rows and columns."""
    model, _ = train([record(video) for video in videos], config or Config(columns=True), seed)
    return lambda video: LearnedCost(model, video.image_size, "softmax")


def train_em_kalman(videos: Sequence[Video], seed: int, schedule: Schedule | None = None) -> Cost:
    """Train em-kalman on the detections without identities."""
    sequences = [
        DetectionSequence(
            f"{video.name}/{video.stride}",
            _Sequence(video).detections(),
            _Sequence(video).frame_numbers(),
            video.image_size,
        )
        for video in videos
    ]
    frames = sum(len(one.frames) for one in sequences)
    torch.manual_seed(seed)
    model = NeuralKalmanFilter(MotionModel(), learn_noise=True)
    fit(model, WindowSampler(sequences, stride=max(1, frames // WINDOWS)), schedule or Schedule(), seed=seed)
    return lambda video: EMKalmanCost(model=model)


LEARNED: dict[str, Callable[[Sequence[Video], int], Cost]] = {
    "SGLA": train_sgla,
    "two-way cross-entropy": train_two_way,
    "em-kalman": train_em_kalman,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOT_DATA"), help="data pack; default: $MOT_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of the trained costs")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    options = parser.parse_args(arguments)
    if not options.table:
        if options.data is None:
            parser.error("--data: expected the folder of the data pack; pass it, or set MOT_DATA")
        data = Path(options.data)
        videos = {split: load(data, split, STRIDES[split], LONGEST[split]) for split in LONGEST}
        measure(videos, options.results, options.seeds)
    text = render(read(options.results))
    if options.results == RESULTS:
        fill(PAGE, {"real": text})
    print(text)


def measure(videos: Mapping[str, Sequence[Video]], results: Path, seeds: Iterable[int]) -> None:
    """Run everything that is missing in ``results``."""
    torch.set_num_threads(1)
    done = {(line["name"], line["seed"]) for line in read(results)}
    plan = [("IoU", 0), *((name, seed) for seed in seeds for name in LEARNED)]
    for name, seed in plan:
        if (name, seed) in done:
            continue
        line = {**provenance(*MEASURED), "name": name, "seed": seed, **run(name, seed, videos)}
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(name, seed, flush=True)


def run(name: str, seed: int, videos: Mapping[str, Sequence[Video]]) -> dict[str, Any]:
    """Train a cost, choose its thresholds on validation, and test it."""
    if name == "IoU":
        return {"test": score(videos["test"], None, None)}
    start = time.process_time()
    cost = LEARNED[name](videos["train"], seed)
    seconds = time.process_time() - start
    quality = {thresholds: _quality(score(videos["val"], cost, thresholds)) for thresholds in THRESHOLDS}
    chosen = max(quality, key=lambda one: quality[one])
    return {
        "thresholds": list(chosen),
        "val": round(quality[chosen], 2),
        "test": score(videos["test"], cost, chosen),
        "train_cpu_seconds": round(seconds, 1),
    }


def _quality(rows: Mapping[str, Mapping[str, float]]) -> float:
    return mean((row["HOTA"] + row["IDF1"]) / 2 for name, row in rows.items() if name.startswith("mean/"))


def score(
    videos: Iterable[Video], cost: Cost | None, thresholds: tuple[float, float, float] | None
) -> dict[str, dict[str, float]]:
    """Return metrics over all videos of a data set and stride, keyed like ``"DanceTrack/3"``, and their means."""
    parts: dict[str, list[Scores]] = {}
    for video in videos:
        names = ("max_cost", "max_cost_low", "max_cost_unconfirmed")
        limits: dict[str, Any] = dict(zip(names, thresholds, strict=True)) if thresholds else {}
        tracker = ByteTrack(**limits) if cost is None else ByteTrack(cost=cost(video), **limits)
        found = [tracker.update(frame.boxes_xyxy, frame.scores) for frame in video.frames]
        tracks = _table([np.asarray(one.ids) for one in found], [np.asarray(one.boxes_xyxy) for one in found])
        numbers = range(1, len(video.frames) + 1)
        scores = score_sequence(video.ground_truth, tracks, video.group, numbers, name=video.name)
        parts.setdefault(f"{video.group}/{video.stride}", []).extend(scores.values())
    combined = {name: Scores.combine(scores) for name, scores in parts.items()}
    rows = {name: {metric: round(float(one[metric]), 2) for metric in METRICS} for name, one in combined.items()}  # type: ignore[arg-type]
    for stride in sorted({name.split("/")[1] for name in rows}):
        each = [row for name, row in rows.items() if name.endswith(f"/{stride}")]
        rows[f"mean/{stride}"] = {metric: round(mean(row[metric] for row in each), 2) for metric in METRICS}
    return rows


def render(lines: Sequence[Line]) -> str:
    """Return a table of the means over the data sets for every stride, then one per data set."""
    groups = sorted(lines[0]["test"], key=lambda name: (not name.startswith("mean"), name)) if lines else []
    parts = []
    for group in groups:
        data, stride = group.split("/")
        where = "Mean over the data sets" if data == "mean" else data
        rows = []
        for name in dict.fromkeys(line["name"] for line in lines):
            tests = [line["test"][group] for line in lines if line["name"] == name]
            rows.append((name, str(len(tests)), *(spread([test[metric] for test in tests]) for metric in METRICS)))
        parts += [f"**{where}, {'every frame' if stride == '1' else f'one frame in {stride}'}**"]
        parts += [markdown(("cost", "seeds", *METRICS), rows)]
    return "\n\n".join(parts) or "Not measured yet."


if __name__ == "__main__":
    main()
