"""Train the small trackers on synthetic video and score them on unseen videos.

``python -m benchmarks.training.learning --tracker motip --seed 0`` runs ``mot fit --config motip_synthetic``, scores
the result next to trackers without appearance on the same detections, and appends a line to
``results/training/learning.jsonl``. An interrupted run resumes when it is started again. ``--table`` regenerates the
tables of ``docs/results.md``. ``nox -s bench -- training.learning`` runs all trackers and seeds, two at a time: an hour
and a half. Runs whose line exists are not repeated. ``benchmarks.training.variants`` compares other arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
import yaml

from benchmarks.paired import complete
from benchmarks.provenance import ROOT, SOURCES, provenance
from benchmarks.training.held_out import evaluate
from benchmarks.training.learning_table import RESULTS, refresh
from mot_core.association.registry import trainable_trackers
from mot_core.cli import main as mot
from mot_core.cli.fit.configs import find_config
from mot_core.data import SyntheticDataModule
from mot_core.structures import ClipBatch
from mot_core.trackers import Tracker

TRACKERS = {name: tracker.__name__ for name, tracker in trainable_trackers().items()}
SEEDS = tuple(range(10))
TEST_SEEDS = tuple(range(1_000_000, 1_000_005))  # the same videos for every run; no training uses these seeds
VIDEOS = 20  # of each test seed
SCENE = ("num_frames", "image_size", "num_objects", "frame_step", "likeness")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", choices=TRACKERS, help="tracker to train; default: all")
    parser.add_argument("--seed", type=int, help="seed of weights, videos and training; default: 0 to 9")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "learning", help="folder for checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--table", action="store_true", help="only regenerate docs/results.md")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="number of test videos of each test seed")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, with one thread each")
    parser.add_argument("more", nargs="*", help="more arguments for mot fit, after --")
    options = parser.parse_args(arguments)
    if not options.table:
        torch.set_num_threads(1)
        seeds = SEEDS if options.seed is None else (options.seed,)
        trackers = TRACKERS if options.tracker is None else {options.tracker: TRACKERS[options.tracker]}
        keys = [
            {"tracker": title, "seed": seed, "recipe": recipe(f"{name}_synthetic"), "arguments": options.more}
            for name, title in trackers.items()
            for seed in seeds
        ]
        complete(options.results, keys, partial(measure, options.output, options.videos), options.processes)
    if options.results == RESULTS:
        refresh()


def measure(output: Path, videos: int, tracker: str, seed: int, recipe: str, arguments: list[str]) -> dict[str, Any]:
    """Train and test once; return a line of the results."""
    name = next(name for name, title in TRACKERS.items() if title == tracker)
    return run(name, seed, output / f"{name}-{recipe}-seed{seed}", videos, arguments)


def recipe(config: str) -> str:
    """Return a checksum of a shipped config without its comments: results of an earlier one do not count."""
    values = yaml.safe_load(find_config(config).read_text(encoding="utf-8"))
    return f"{crc32(json.dumps(values, sort_keys=True).encode()):08x}"


def run(
    tracker: str,
    seed: int,
    folder: Path,
    videos: int,
    more: Sequence[str],
    test_seeds: Sequence[int] = TEST_SEEDS,
    config: str | None = None,
) -> dict[str, Any]:
    """Train and test once, by default with ``config`` "TRACKER_synthetic"; return a line of the results."""
    about = provenance(SOURCES)
    start = time.process_time()
    last = checkpoint(folder)
    first = 0 if last is None else steps(last)
    command, last = train(tracker, seed, folder, more, config)
    seconds = time.process_time() - start
    trained = Tracker.from_checkpoint(last)
    config = yaml.safe_load((last.parents[1] / "config.yaml").read_text(encoding="utf-8"))
    scene = {name: value for name, value in config["data"]["init_args"].items() if name in SCENE}
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
        "test": {
            "videos": videos * len(test_seeds),
            **evaluate(trained, unseen_frames(scene, videos, test_seeds), TRACKERS[tracker]),
        },
    }


def train(
    tracker: str, seed: int, folder: Path, more: Sequence[str], config: str | None = None
) -> tuple[list[str], Path]:
    """Train in a folder, from its newest checkpoint on if it has one; return the command and the last checkpoint."""
    command = ["fit", "--config", config or f"{tracker}_synthetic", "--seed_everything", str(seed)]
    command += ["--model.init_args.seed", str(seed), "--data.init_args.seed", str(seed), *more]
    last = checkpoint(folder)
    if code := mot([*command, "--output", str(folder), *(["--ckpt_path", str(last)] if last else [])]):
        sys.exit(code)
    last = checkpoint(folder)
    assert last is not None, "training writes a checkpoint"
    return command, last


def unseen_frames(scene: Mapping[str, Any], videos: int, seeds: Sequence[int] = TEST_SEEDS) -> Iterator[ClipBatch]:
    """Yield the frames of ``videos`` test videos of each seed in order."""
    for seed in seeds:
        yield from SyntheticDataModule(**scene, num_val_videos=videos, seed=seed).test_dataloader()


def checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run."""
    found = folder.glob("version_*/checkpoints/last.ckpt")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def steps(path: Path) -> int:
    """Return the number of steps of a checkpoint."""
    return int(torch.load(path, map_location="cpu", weights_only=True)["global_step"])


if __name__ == "__main__":
    main()
