r"""Train a small tracker with and without something, over seeds, and compare: the runs of ``learning.py``, paired.

    python -m benchmarks.training.variants --tracker motip --results FILE.jsonl --seeds 0 1 2 3 4 \
        --variant "alone:" --variant "twice the id loss: --model.init_args.id_weight=2"

A variant is a name, a colon and more arguments for ``mot fit``; the others are compared with the first one. Runs that
``FILE.jsonl`` has are not repeated, so an interrupted comparison continues when it is started again. Two runs at a
time, each on one core. The table is printed at the end.

To choose a variant, test on other videos than those of the reported results: ``--test-seeds 2000000``.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

from benchmarks.paired import Get, Line, complete, table
from benchmarks.provenance import ROOT
from benchmarks.training.learning import SEEDS, TEST_SEEDS, TRACKERS, VIDEOS, recipe, run, train
from benchmarks.training.learning_table import METRICS

Starts: TypeAlias = Mapping[int, str]  # checkpoint from which the rows of a seed start

GETTERS: dict[str, Get] = {
    **{
        metric: lambda line, metric=metric: line["test"]["trackers"][line["tracker"]][metric]  # type: ignore[misc]
        for metric in METRICS
    },
    "recall": lambda line: line["test"]["recall"],
    "CPU minutes": lambda line: line["cpu_minutes"],
}


def measure(name: str, output: Path, videos: int, config: str, starts: Starts, **key: Any) -> dict[str, Any]:
    """Train and test once; return a line of the results."""
    seed, arguments = key["seed"], key["arguments"]
    folder = output / folder_name(name, key["variant"], key["recipe"], seed, [*key["start"], *arguments])
    more = [*arguments, *(["--init", starts[seed]] if starts else [])]
    return run(name, seed, folder, videos, more, key["test_seeds"], config)


Measure: TypeAlias = Callable[..., dict[str, Any]]
"""A function with the arguments of :func:`measure`."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", choices=TRACKERS, required=True, help="tracker to train")
    parser.add_argument("--variant", action="append", required=True, help='"NAME: ARGUMENTS of mot fit", repeatable')
    parser.add_argument("--results", type=Path, required=True, help="file that gets a line for each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of weights, videos and training")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "variants", help="folder for checkpoints")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="number of test videos of each test seed")
    parser.add_argument("--test-seeds", type=int, nargs="+", default=TEST_SEEDS, help="seeds of the test videos")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, with one thread each")
    options = parser.parse_args(arguments)
    variants = {}
    for one in options.variant:
        name, colon, more = one.partition(":")
        if not colon:
            parser.error(f"--variant: expected NAME: ARGUMENTS, got {one!r}; put a colon after the name")
        variants[name.strip()] = shlex.split(more)
    lines = compare(
        options.tracker,
        variants,
        options.seeds,
        options.results,
        options.output,
        videos=options.videos,
        test_seeds=options.test_seeds,
        processes=options.processes,
    )
    print(table(f"**{TRACKERS[options.tracker]}**", lines, GETTERS))


def compare(
    tracker: str,
    variants: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    results: Path,
    output: Path = ROOT / "runs" / "variants",
    *,
    videos: int = VIDEOS,
    test_seeds: Sequence[int] = TEST_SEEDS,
    processes: int = 2,
    config: str | None = None,
    start: Sequence[str] = (),
    measure: Measure = measure,
) -> dict[str, list[Line]]:
    """Train and test every variant with every seed, unless ``results`` has the run, and return the lines by variant.

    Args:
        tracker: Name of the tracker, "motip" or "motr".
        variants: More arguments for ``mot fit`` by name, with the reference first.
        seeds: Seeds of weights, training videos and all random draws.
        results: File that gets a line for each run.
        output: Folder for checkpoints; an interrupted run resumes from its own.
        videos: Number of test videos of each test seed.
        test_seeds: Seeds of the test videos.
        processes: Runs at a time, each with one thread.
        config: Shipped config of all variants. None: "TRACKER_synthetic".
        start: Arguments for ``mot fit`` of a run for each seed, from whose weights all variants start. Empty: random
            weights.
        measure: Trains and tests a variant.
    """
    config = config or f"{tracker}_synthetic"
    starts: dict[int, str] = {}
    if start:
        # All first, in parallel: the variants of a seed would wait for each other.
        begin = [{"seed": seed, "recipe": recipe(config), "arguments": list(start)} for seed in seeds]
        trained = complete(output / "starts.jsonl", begin, partial(train_start, tracker, output, config), processes)
        starts = {line["seed"]: line["checkpoint"] for line in trained}
    # Seed by seed, so that an interrupted comparison has pairs.
    keys = [
        {
            "tracker": TRACKERS[tracker],
            "variant": name,
            "seed": seed,
            "recipe": recipe(config),
            "arguments": list(more),
            "test_seeds": list(test_seeds),
            "start": list(start),
        }
        for seed in seeds
        for name, more in variants.items()
    ]
    lines = complete(results, keys, partial(measure, tracker, output, videos, config, starts), processes)
    return {name: [line for line in lines if line["variant"] == name] for name in variants}


def train_start(name: str, output: Path, config: str, seed: int, recipe: str, arguments: list[str]) -> dict[str, str]:
    """Train the weights from which the variants of a seed start; return the path of the checkpoint."""
    folder = output / folder_name(name, "start", recipe, seed, arguments)
    return {"checkpoint": str(train(name, seed, folder, arguments, config)[1].resolve())}


def folder_name(tracker: str, variant: str, recipe: str, seed: int, arguments: Sequence[str]) -> str:
    """Return the name of a folder that no variant of the same name with other arguments shares.

    >>> folder_name("motip", "two layers", "0a", 1, ["--a=2"])
    'motip-two_layers-0a-4601d362-seed1'
    """
    checksum = crc32(" ".join(arguments).encode())
    return f"{tracker}-{variant}-{recipe}-{checksum:08x}-seed{seed}".replace(" ", "_")


if __name__ == "__main__":
    main()
