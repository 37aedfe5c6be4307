"""Association on real sequences: our trackers against each other and against those that can be installed.

    python -m benchmarks.association_quality.compare                run what is missing, and write the page
    python -m benchmarks.association_quality.compare --table        only write docs/association_results.md

Every data set of MOT_DATA that has ground truth and detections is tracked with every tracker, at every frame, one in 3
and one in 5, with default parameters. em-kalman is measured with the model of its package, and with one trained on the
detections of the data set. Ground truth is used for scores only. Each run appends a line to
``results/association_quality/compare.jsonl``; an interrupted measurement continues where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.association_quality.page import PAGE, refresh
from benchmarks.association_quality.sets import RATES, SETS, found_in, score, videos
from benchmarks.association_quality.trackers import (
    ADAPTED,
    OURS,
    PEERS,
    STRONG,
    adapted,
    peer_trackers,
    run_ours,
    run_peer,
)
from benchmarks.paired import complete
from benchmarks.provenance import RESULTS_FOLDER, SOURCES, provenance
from em_kalman import EMKalmanTracker

RESULTS = RESULTS_FOLDER / "association_quality/compare.jsonl"
MEASURED = (f"{SOURCES}/association", "packages/em-kalman/src")
Key = Mapping[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOT_DATA"), help="data pack; default: $MOT_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write; default: docs/association_results.md")
    parser.add_argument("--seeds", type=int, default=3, help="number of adapted models per data set; default: 3")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="packages; default: all")
    parser.add_argument("--sets", nargs="+", choices=SETS, help="data sets; default: all that the data pack has")
    parser.add_argument("--table", action="store_true", help="only write the page")
    options = parser.parse_args(arguments)
    unavailable: dict[str, str] = {}
    if not options.table:
        if options.data is None:
            parser.error("--data: expected the folder of the data pack; pass it, or set MOT_DATA")
        data = Path(options.data).resolve()
        names = options.sets or found_in(data)
        if not names:
            sys.exit(f"--data: expected sequences with ground truth and detections, found none in {data}")
        peers = {package: peer_trackers(package) for package in options.peers}
        unavailable = {package: reason for package, (_, reason) in peers.items() if reason}
        trackers = {package: found for package, (found, _) in peers.items() if found}
        options.results.parent.mkdir(parents=True, exist_ok=True)
        complete(options.results, list(plan(names, options.seeds, trackers)), partial(measure, data), processes=1)
    refresh(options.results, options.page, unavailable)


def plan(names: list[str], seeds: int, peers: Mapping[str, list[str]]) -> Iterator[Key]:
    """Yield the keys of all runs, the most important first: our trackers, one adapted model each, peers, more seeds."""
    cells = [{"set": name, "step": step, "seed": 0} for step in RATES for name in names]
    ours: Key = {"package": "mot-core", "min_score": None}
    mine = [*OURS, ADAPTED] if seeds else list(OURS)
    yield from ({**ours, "tracker": one, **cell} for cell in cells for one in mine)
    yield from (
        {"package": package, "min_score": low, "tracker": one, **cell}
        for cell in cells
        for package, trackers in peers.items()
        for one in trackers
        for low in (None, STRONG)
    )
    yield from ({**ours, "tracker": ADAPTED, **cell, "seed": seed} for seed in range(1, seeds) for cell in cells)


def measure(
    data: Path, *, package: str, tracker: str, min_score: float | None, set: str, step: int, seed: int
) -> dict[str, Any]:
    """Track a data set and return its metrics."""
    begin = time.process_time()
    line = {**provenance(*MEASURED), "sequences": len(videos(data, set, 1))}
    if package != "mot-core":
        low = float("-inf") if min_score is None else min_score
        return line | score(partial(run_peer, package, tracker, low), data, set, step)
    make = OURS.get(tracker)
    if make is None:
        model, line["kept_ready"] = adapted(data, set, step, seed)
        line["training_cpu_seconds"] = round(time.process_time() - begin, 1)
        make = partial(EMKalmanTracker, model=model)
    return line | score(partial(run_ours, make), data, set, step)


if __name__ == "__main__":
    main()
