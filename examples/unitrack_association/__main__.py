"""Train the association transformer with and without the UniTrack loss, and track other videos with both.

``python examples/unitrack_association`` uses synthetic scenes; ``--data FOLDER`` uses the sequences of README.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from unitrack_association.recording import record
from unitrack_association.scoring import METRICS, choose, score
from unitrack_association.train import Config, train
from unitrack_association.videos import Video, load, synthetic

STRIDES = (1, 3, 5)
WEIGHT = 0.1  # weight of the UniTrack loss


def main(arguments: list[str] | None = None) -> None:
    """Train, track, score and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder with DanceTrack, SportsMOT and MOT17; synthetic scenes by default"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed for weights and batches")
    parser.add_argument("--steps", type=int, default=Config.steps, help="number of training steps")
    parser.add_argument("--frames", type=int, default=300, help="maximum number of frames per video")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recordings = [record(video) for video in videos(options.data, "train", options.frames)]
    val, test = (videos(options.data, split, options.frames) for split in ("val", "test"))
    results = {"IoU": score(test, None)}
    plain = Config(steps=options.steps)
    for name, config in {"cross-entropy": plain, "with UniTrack": replace(plain, weight=WEIGHT)}.items():
        model, _ = train(recordings, config, options.seed)
        use, _ = choose(val, model)
        results[name] = score(test, model, use)
    for group in results["IoU"]:
        table = Table("cost", *METRICS, title=f"{group} (data set / every n-th frame)")
        for name, result in results.items():
            table.add_row(name, *(f"{result[group][metric]:g}" for metric in METRICS))
        Console().print(table)


def videos(data: Path | None, split: str, frames: int) -> list[Video]:
    """Return the videos of a split at all strides; validation omits the full frame rate, which is uninformative."""
    strides = STRIDES[1:] if split == "val" else STRIDES
    if data is not None:
        return load(data, split, strides, frames)
    seeds = {"train": range(8), "val": range(100, 102), "test": range(200, 203)}[split]
    return synthetic(seeds, strides, frames)


if __name__ == "__main__":
    main()
