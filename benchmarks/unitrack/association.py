"""Effect of the UniTrack loss and its switches on the transformer of ``examples/unitrack_association``.

    python -m benchmarks.unitrack.association --data FOLDER  run what is missing in the results, most important first
    python -m benchmarks.unitrack.association --table            print all tables

A run trains a configuration with a seed and a fixed budget, and is tested on sequences of neither training nor
validation. It appends a line to ``results/unitrack/association.jsonl`` for each use: the one selected on validation
(main configurations only), and both forms of the association with fixed thresholds. It takes about 40 seconds of one
core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.pages import spread
from benchmarks.provenance import ROOT, provenance

sys.path.insert(0, str(ROOT / "examples"))
from unitrack_association.recording import Recording, record
from unitrack_association.scoring import METRICS, Use, choose, score
from unitrack_association.train import Config, train
from unitrack_association.videos import Video, load

from benchmarks.unitrack.tables import ASSOCIATION as RESULTS
from benchmarks.unitrack.tables import IOU, read, refresh

MEASURED = ("examples/unitrack_association", "packages/unitrack-loss/src", "packages/mot-core/src/mot_core/association")
FULL = Config(weight=0.1)
MAIN = {
    "cross-entropy": Config(),
    "UniTrack": FULL,
    "cross-entropy both ways": Config(columns=True),
    "both ways and UniTrack": replace(FULL, columns=True),
}
ABLATION = {
    "weight 0.03": replace(FULL, weight=0.03),
    "weights fixed": replace(FULL, settings={"weights": "fixed"}),
    "weights none": replace(FULL, settings={"weights": "none"}),
    "without flow term": replace(FULL, settings={"flow_weight": 0.0}),
    "without spatial term": replace(FULL, settings={"spatial_weight": 0.0}),
    "without temporal term": replace(FULL, settings={"temporal_weight": 0.0}),
    "without conservation": replace(FULL, settings={"conservation_weight": 0.0}),
    "linear flow term": replace(FULL, settings={"flow_form": "linear"}),
    "window 2": replace(FULL, settings={"window": 2}),
    "window 3": replace(FULL, settings={"window": 3}),
    "window 4": replace(FULL, settings={"window": 4}),
    "window 6": replace(FULL, settings={"window": 6}),
    "window 8": replace(FULL, settings={"window": 8}),
    "flow of embeddings": replace(FULL, flow="embedding"),
    "flow of boxes": replace(FULL, flow="boxes"),
    "conservation x 5": replace(FULL, settings={"conservation_weight": 5.0}),
}
SEEDS = (0, 1, 2)
LONGEST = {"train": 300, "val": 150, "test": 150}  # frames of a video, after subsampling
STRIDES = {"train": (1, 3, 5), "val": (3, 5), "test": (1, 3, 5)}
CHOSEN = "chosen on validation"
FIXED = {form: Use(form, 0.95, 0.7, 0.9) for form in ("sigmoid", "softmax")}

Line = Mapping[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOT_DATA"), help="data pack; default: $MOT_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no run after this time")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    options = parser.parse_args(arguments)
    if not options.table:
        if options.data is None:
            parser.error("--data: expected the folder of the data pack; pass it, or set MOT_DATA")
        measure(Path(options.data), options.results, options.seconds)
    if options.results == RESULTS:
        refresh()
    print(render(read(options.results)))


def plan() -> Iterator[tuple[str, Config, int]]:
    """Yield all runs: the main configurations with every seed, then the ablation seed by seed."""
    yield from ((name, config, seed) for seed in SEEDS for name, config in MAIN.items())
    yield from ((name, config, seed) for seed in SEEDS for name, config in ABLATION.items())


def measure(data: Path, results: Path, seconds: float) -> None:
    """Run everything that is missing in ``results``."""
    torch.set_num_threads(1)
    begin = time.monotonic()
    done = {(line["name"], line["seed"], line["form"]) for line in read(results)}
    videos = {split: load(data, split, STRIDES[split], LONGEST[split]) for split in LONGEST}
    if (IOU, 0, "") not in done:
        append(
            results, {**provenance(*MEASURED), "name": IOU, "seed": 0, "form": "", "test": score(videos["test"], None)}
        )
    recordings = [record(video) for video in videos["train"]]
    for name, config, seed in plan():
        wanted = [CHOSEN, *FIXED] if name in MAIN else FIXED
        missing = [form for form in wanted if (name, seed, form) not in done]
        if missing and time.monotonic() - begin < seconds:
            about = provenance(*MEASURED)
            for line in run(recordings, videos, config, seed, missing):
                append(results, {**about, "name": name, **line})
            print(name, seed, flush=True)


def run(
    recordings: Sequence[Recording],
    videos: Mapping[str, Sequence[Video]],
    config: Config,
    seed: int,
    forms: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Train once, and test with every requested use."""
    start = time.process_time()
    model, log = train(recordings, config, seed)
    seconds = time.process_time() - start
    for form in forms:
        use, quality = choose(videos["val"], model) if form == CHOSEN else (FIXED[form], None)
        yield {
            "seed": seed,
            "form": form,
            "config": asdict(config),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "training": {name: round(value, 4) for name, value in log.items()},
            "use": asdict(use),
            "val": quality if quality is None else round(quality, 2),
            "test": score(videos["test"], model, use),
            "train_cpu_seconds": round(seconds, 1),
        }


def append(results: Path, line: Line) -> None:
    """Append a line."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def render(lines: Sequence[Line]) -> str:
    """Return means over the data sets by use and stride, then the main configurations per data set."""
    groups = list(lines[0]["test"]) if lines else []
    means = [group for group in groups if group.startswith("mean/")]
    main = [line for line in lines if line["name"] in (IOU, *MAIN)]
    parts = [_table(group, form, lines) for form in FIXED for group in means]
    parts += [_table(group, CHOSEN, main) for group in means]
    parts += [_table(group, form, main) for form in FIXED for group in groups if group not in means]
    return "\n\n".join(parts)


def _table(group: str, form: str, lines: Sequence[Line]) -> str:
    data, stride = group.split("/")
    where = "mean over the data sets" if data == "mean" else data
    rows = [f"**{form}: {where}, {'every frame' if stride == '1' else f'one frame in {stride}'}**", ""]
    rows += [f"| cost | seeds | {' | '.join(METRICS)} |", f"| --- | ---: |{' ---: |' * len(METRICS)}"]
    for name in dict.fromkeys([IOU, *MAIN, *ABLATION]):
        tests = [line["test"][group] for line in lines if line["name"] == name and line["form"] in ("", form)]
        if tests:
            cells = (spread([test[metric] for test in tests]) for metric in METRICS)
            rows.append(f"| {name} | {len(tests)} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
