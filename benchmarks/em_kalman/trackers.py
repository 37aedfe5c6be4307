"""Tracking quality of em-kalman, trained on detections without labels, compared with trackers with manual constants.

    python -m benchmarks.em_kalman.trackers --data FOLDER      run what is missing in the results, most important first
    python -m benchmarks.em_kalman.trackers --table            regenerate the tables of docs/em_kalman_results.md

Models are trained on the detections of some videos, without ground truth, and tested on videos of other scenes, on the
same detections as SORT, ByteTrack, OC-SORT and plain IoU. Every run appends a line to
``results/em_kalman/trackers.jsonl`` and takes about half a minute of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.em_kalman.data import PARTNER, RATES, SOURCES, baselines, score
from benchmarks.em_kalman.tables import read, refresh
from benchmarks.provenance import RESULTS_FOLDER, provenance
from em_kalman import (
    AssociationCollapse,
    EMKalmanTracker,
    MotionModel,
    NeuralKalmanFilter,
    Schedule,
    WindowBatch,
    WindowSampler,
    fit,
    learn_detection_probability,
)
from em_kalman.objectives import Objective
from em_kalman.training import calibrate_dustbin

RESULTS = RESULTS_FOLDER / "em_kalman/trackers.jsonl"
SOURCE = "packages/mot-core/src/mot_core"
MEASURED = ("packages/em-kalman/src", f"{SOURCE}/association", f"{SOURCE}/ops")
SEEDS = (0, 1, 2, 3)
WINDOWS = 260  # number of training windows


@dataclass(frozen=True)
class Config:
    """A training configuration.

    Attributes:
        model: Arguments of the model.
        objective: Training objective.
        two_stages: Train with a warm-up.
        constant_count: Train on windows with equally many detections in all frames, which the square Sinkhorn needs.
        published: Use the motion model of the authors' code.
        alike: Do not learn the detection probabilities of lost and new tracks.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective = "predictive"
    two_stages: bool = True
    constant_count: bool = False
    published: bool = False
    alike: bool = False


AS_IT_IS = "as it is"
SQUARE = Config({"learn_noise": False, "dustbin": False, "layout": "joint"}, two_stages=False, constant_count=True)
CONFIGS = {
    AS_IT_IS: Config(),
    "motion not learned": Config({"learn_noise": False}),
    "presence not learned": Config(alike=True),
    "objective em": Config({"learn_noise": False}, objective="em"),
    "objective smoothed": Config({"learn_noise": False}, objective="smoothed"),
    "objective filtered": Config({"learn_noise": False}, objective="filtered"),
    "row last": Config({"last": "row"}),
    "one stage": Config(two_stages=False),
    "one stage, 5 hidden units": Config({"hidden": 5}, two_stages=False),
    "square": SQUARE,
    "square, row last": replace(SQUARE, model={**SQUARE.model, "last": "row"}),
    "square, published objective": replace(SQUARE, objective="published"),
    "published": Config(
        {**SQUARE.model, "last": "row", "hidden": 5}, "published", two_stages=False, constant_count=True, published=True
    ),
}
ABLATION = "MOT17 public"  # training data of the other configurations


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOT_DATA"), help="data pack; default: $MOT_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no run after this time")
    parser.add_argument("--table", action="store_true", help="only regenerate the tables")
    options = parser.parse_args(arguments)
    if options.table:
        refresh(options.results)
    elif options.data is None:
        parser.error("--data: expected the folder of the data pack; pass it, or set MOT_DATA")
    else:
        measure(Path(options.data), options.results, options.seconds)


def plan() -> Iterator[tuple[str, str, int]]:
    """Return all runs as name, training data and seed, the main comparison first."""
    yield from ((name, "", 0) for name in baselines(SOURCES[ABLATION]))
    yield from ((AS_IT_IS, train, seed) for seed in SEEDS for train in SOURCES)
    yield from ((name, ABLATION, seed) for seed in SEEDS for name in CONFIGS if name != AS_IT_IS)


def measure(data: Path, results: Path, seconds: float) -> None:
    """Run everything that is missing in ``results``."""
    torch.set_num_threads(1)
    begin = time.monotonic()
    done = {(line["name"], line["train"], line["seed"]) for line in read(results)}
    for name, train, seed in plan():
        if (name, train, seed) in done or time.monotonic() - begin > seconds:
            continue
        line = {**provenance(*MEASURED), "name": name, "train": train, "seed": seed}
        line |= run(CONFIGS[name], data, train, seed, name) if train else {"test": _baseline(name, data)}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(name, train, seed, f"{time.monotonic() - begin:.0f} s", flush=True)


def _baseline(name: str, data: Path) -> dict[str, dict[str, float]]:
    found = {}
    for key, source in SOURCES.items():
        scores = score(baselines(source)[name], source, data, RATES)
        found.update({f"{key}, {rate}": row for rate, row in scores.items()})
    return found


def run(config: Config, data: Path, train: str, seed: int, name: str) -> dict[str, Any]:
    """Train once; test on other data at all frame rates, and on all data at the full rate."""
    start = time.process_time()
    try:
        model, log = learn(config, data, train, seed)
    except AssociationCollapse:
        return {"collapsed": True, "test": {}, "train_cpu_seconds": round(time.process_time() - start, 1)}
    seconds = time.process_time() - start
    tests = {}
    for key, source in SOURCES.items():
        rates = RATES if key == PARTNER[train] else RATES[:1]
        if key == PARTNER[train] or name == AS_IT_IS:
            lowest = float("-inf") if source.sure is None else source.sure
            rows = score(
                lambda age, low=lowest: EMKalmanTracker(  # type: ignore[misc]
                    model=model, max_age=age, min_score=low, low_score=float("inf")
                ),
                source,
                data,
                rates,
            )
            tests.update({f"{key}, {rate}": row for rate, row in rows.items()})
    return {
        "collapsed": False,
        "training": log,
        "motion": {key: round(getattr(model.learned_motion(), key), 7) for key in ("q", "r", "p0", "v0")},
        "detection_probability": [round(share, 4) for share in model.detection_probability.tolist()],
        "test": tests,
        "train_cpu_seconds": round(seconds, 1),
    }


def learn(config: Config, data: Path, train: str, seed: int) -> tuple[NeuralKalmanFilter, dict[str, float]]:
    """Return a trained model and the final values of its training. Ground truth is not opened."""
    torch.manual_seed(seed)
    windows = _windows(config, data, train)
    motion = MotionModel.published() if config.published else MotionModel()
    model = NeuralKalmanFilter(motion, **{"learn_noise": True, **config.model})
    # The objective "published" is not defined for windows of different sizes in a batch.
    size = 1 if config.objective == "published" else Schedule().batch_size
    schedule = Schedule() if config.two_stages else Schedule(warmup_epochs=0, epochs=10, min_steps=300, batch_size=size)
    history = fit(model, windows, schedule, objective=config.objective, seed=seed)
    if model.dustbin is None:  # cannot track: a square association has no dustbin for new objects
        model = _with_dustbin(model, windows)
    if config.alike:
        model.detection_probability.fill_(1.0)
    last = history[-1]
    log = {name: round(last[name], 4) for name in ("nll_per_det", "unexplained", "assoc_entropy")}
    worst = max(line["unexplained"] for line in history if line["stage"] == 2)
    return model, {**log, "most_unexplained": round(worst, 4), "windows": len(windows)}


def _windows(config: Config, data: Path, train: str) -> WindowSampler:
    sequences = SOURCES[train].unlabelled(data)
    if config.constant_count:
        return WindowSampler(sequences, stride=1, policy="constant_count")
    frames = sum(len(one.frames) for one in sequences)
    return WindowSampler(sequences, stride=max(1, frames // WINDOWS))


def _with_dustbin(square: NeuralKalmanFilter, windows: WindowSampler) -> NeuralKalmanFilter:
    settings: dict[str, Any] = {**square.settings, "dustbin": True, "layout": "decoupled"}
    model = NeuralKalmanFilter(MotionModel(), **settings)
    model.network.load_state_dict(square.network.state_dict())
    batches = [WindowBatch.stack([windows[i]]) for i in range(len(windows))]
    calibrate_dustbin(model, batches)
    learn_detection_probability(model, windows)
    return model


if __name__ == "__main__":
    main()
