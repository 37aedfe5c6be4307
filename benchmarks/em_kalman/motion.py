"""Effect of learned motion noise on trackers with ``--motion``: likelihood and IDF1, compared with the constants.

    python -m benchmarks.em_kalman.motion --data FOLDER        a few minutes of one core

For every seed, a model learns association from the public detections of MOT17. The noise of every detector is then
learned along the associations of this model, on four fifths of the frames. Ground truth is used for scores only. Writes
``results/em_kalman/motion.json`` and prints the tables of docs/em_kalman.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.em_kalman.data import PARTNER, RATES, SOURCES, baselines, score
from benchmarks.em_kalman.trackers import AS_IT_IS, CONFIGS, MEASURED, learn
from benchmarks.pages import spread
from benchmarks.provenance import RESULTS_FOLDER, provenance
from em_kalman import DetectionSequence, MotionModel, NeuralKalmanFilter, WindowSampler
from em_kalman.motion.noise import ObservedTrajectories, confident_trajectories, learn_noise, noise_loglik
from mot_core.association.kalman import BYTETRACK_NOISE, SORT_NOISE

RESULTS = RESULTS_FOLDER / "em_kalman/motion.json"
TRAINED_ON = "MOT17 public"
TESTED = ("MOT15", "MOT17 public", "DanceTrack YOLOX")
TRACKERS = ("SORT", "ByteTrack", "OC-SORT")
LEARNED_SHARE = 0.8  # share of the frames used for training; the rest is held out


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOT_DATA"), help="data pack; default: $MOT_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the models; default: 0 1 2")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("--data: expected the folder of the data pack; pass it, or set MOT_DATA")
    torch.set_num_threads(1)
    report: dict[str, Any] = {**provenance(*MEASURED), "runs": []}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            report["runs"].append(run(Path(options.data), seed, Path(folder)))
        options.results.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(tables(report["runs"]))


def run(data: Path, seed: int, folder: Path) -> dict[str, Any]:
    """Train a model, learn the noise of every detector with it, and score trackers that use this noise."""
    model, _ = learn(CONFIGS[AS_IT_IS], data, TRAINED_ON, seed)
    noises, densities = {}, {}
    for name, source in SOURCES.items():
        sequences = source.unlabelled(data)
        noise = learn_noise(found(model, sequences, 0, LEARNED_SHARE), MotionModel()).for_trackers(name)
        held_out = found(model, sequences, LEARNED_SHARE, 1)
        constants = {"ByteTrack": BYTETRACK_NOISE, "SORT and OC-SORT": SORT_NOISE}
        densities[name] = {"learned": noise_loglik(held_out, noise.noise(BYTETRACK_NOISE))}
        densities[name] |= {key: noise_loglik(held_out, value) for key, value in constants.items()}
        noises[name] = str(folder / f"{name}.json")
        noise.save(noises[name])
    scores = {}
    for name in TESTED:
        motions = {"by hand": "", "learned here": noises[name], "learned elsewhere": noises[PARTNER[name]]}
        scores[name] = {
            tracker: {label: idf1(data, name, tracker, motion) for label, motion in motions.items()}
            for tracker in TRACKERS
        }
        print(seed, name, scores[name], flush=True)
    return {"seed": seed, "loglik": densities, "IDF1": scores}


def found(
    model: NeuralKalmanFilter, sequences: list[DetectionSequence], begin: float, end: float
) -> ObservedTrajectories:
    """Return the trajectories in a part of every sequence."""
    parts = [
        replace(one, frames=one.frames[int(begin * len(one.frames)) : int(end * len(one.frames))]) for one in sequences
    ]
    return confident_trajectories(model, WindowSampler(parts, stride=10))


def idf1(data: Path, name: str, tracker: str, motion: str) -> float:
    """Return the scores of a tracker at the full frame rate."""
    source = SOURCES[name]
    return score(baselines(source, motion=motion)[tracker], source, data, RATES[:1])[RATES[0]]["IDF1"]


def tables(runs: list[dict[str, Any]]) -> str:
    """Return both tables as Markdown, with mean and standard deviation over the seeds."""
    lines = ["| detections | learned | ByteTrack | SORT and OC-SORT |", "|---|---:|---:|---:|"]
    for name, row in runs[0]["loglik"].items():
        lines.append(f"| {name} | {' | '.join(_spread([one['loglik'][name][key] for one in runs]) for key in row)} |")
    lines += ["", "| detections | tracker | by hand | learned here | learned elsewhere |", "|---|---|---:|---:|---:|"]
    for name, trackers in runs[0]["IDF1"].items():
        for tracker, row in trackers.items():
            values = [_spread([one["IDF1"][name][tracker][key] for one in runs]) for key in row]
            lines.append(f"| {name} | {tracker} | {' | '.join(values)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    same = max(values) - min(values) < 1e-9
    return spread(values[:1] if same else values)


if __name__ == "__main__":
    main()
