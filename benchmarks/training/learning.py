"""Train the small trackers on synthetic video and score them on unseen videos.

``python -m benchmarks.training.learning --tracker motip --seed 0`` runs ``mot fit --config motip_synthetic``, scores
the result next to trackers without appearance on the same detections, and appends a line to
``results/training/learning.jsonl``. An interrupted run resumes when it is started again. ``--table`` regenerates the
tables of ``docs/results.md``. ``nox -s bench -- training.learning`` runs all trackers and seeds: an hour and a half.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.provenance import ROOT, SOURCES, provenance
from benchmarks.training.held_out import evaluate
from benchmarks.training.learning_table import RESULTS, refresh
from mot_core.cli import main as mot
from mot_core.cli.track.registry import trainable_trackers
from mot_core.data import SyntheticDataModule
from mot_core.trackers import Tracker

TRACKERS = {name: tracker.__name__ for name, tracker in trainable_trackers().items()}
TEST = {"num_val_videos": 20, "seed": 1_000_000}  # the same videos for every run; no training uses this seed
SCENE = ("num_frames", "image_size", "num_objects", "frame_step")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", choices=TRACKERS, help="tracker to train; default: all")
    parser.add_argument("--seed", type=int, help="seed of weights, videos and training; default: 0, 1 and 2")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "learning", help="folder for checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--table", action="store_true", help="only regenerate docs/results.md")
    parser.add_argument("--videos", type=int, default=TEST["num_val_videos"], help="number of test videos")
    parser.add_argument("more", nargs="*", help="more arguments for mot fit, after --")
    options = parser.parse_args(arguments)
    if not options.table:
        torch.set_num_threads(1)
        for seed in (0, 1, 2) if options.seed is None else (options.seed,):
            for tracker in TRACKERS if options.tracker is None else (options.tracker,):
                line = run(tracker, seed, options.output / f"{tracker}-seed{seed}", options.videos, options.more)
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(json.dumps(line, indent=1))
    if options.results == RESULTS:
        refresh()


def run(tracker: str, seed: int, folder: Path, videos: int, more: list[str]) -> dict[str, Any]:
    """Train and test once; return a line of the results."""
    command = ["fit", "--config", f"{tracker}_synthetic", "--seed_everything", str(seed)]
    command += ["--model.init_args.seed", str(seed), "--data.init_args.seed", str(seed), *more]
    about = provenance(SOURCES)
    last = checkpoint(folder)
    start = time.process_time()
    first = 0 if last is None else steps(last)
    if code := mot([*command, "--output", str(folder), *(["--ckpt_path", str(last)] if last else [])]):
        sys.exit(code)
    seconds = time.process_time() - start
    last = checkpoint(folder)
    assert last is not None, "training writes a checkpoint"
    trained = Tracker.from_checkpoint(last)
    recipe = yaml.safe_load((last.parents[1] / "config.yaml").read_text(encoding="utf-8"))
    scene = {name: value for name, value in recipe["data"]["init_args"].items() if name in SCENE}
    data = SyntheticDataModule(**{**scene, **TEST, "num_val_videos": videos})
    done = steps(last)
    return {
        **about,
        "tracker": TRACKERS[tracker],
        "seed": seed,
        "command": f"mot {' '.join(command)}",
        "parameters": sum(parameter.numel() for parameter in trained.parameters()),
        "steps": done,
        # Over all steps, including those of earlier processes.
        "cpu_minutes": round(seconds / 60 * done / max(1, done - first), 1),
        "scene": scene,
        "test": evaluate(trained, data.test_dataloader(), TRACKERS[tracker]),
    }


def checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run."""
    found = folder.glob("version_*/checkpoints/last.ckpt")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def steps(path: Path) -> int:
    """Return the number of steps of a checkpoint."""
    return int(torch.load(path, map_location="cpu", weights_only=True)["global_step"])


if __name__ == "__main__":
    main()
