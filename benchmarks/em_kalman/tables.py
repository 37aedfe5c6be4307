"""Tables of docs/em_kalman_results.md, between its markers, from ``results/em_kalman/trackers.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.em_kalman.data import METRICS, PARTNER, RATES, SOURCES
from benchmarks.pages import fill, markdown, spread
from benchmarks.provenance import ROOT

PAGE = ROOT / "docs" / "em_kalman_results.md"
OURS = "as it is"

Line: TypeAlias = Mapping[str, Any]


def refresh(results: Path, page: Path = PAGE) -> None:
    """Put the tables of ``results`` between the markers of ``page``."""
    fill(page, render(read(results)))


def read(results: Path) -> list[Line]:
    """Return the last line of every run; empty if there is no file."""
    if not results.exists():
        return []
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return list({(line["name"], line["train"], line["seed"]): line for line in lines}.values())


def render(lines: Sequence[Line]) -> dict[str, str]:
    """Return the tables by the names of their markers."""
    ours = [line for line in lines if line["name"] == OURS]
    return {
        "trackers": "\n\n".join(_trackers(lines, test) for test in SOURCES),
        "generalisation": _generalisation(ours),
        "ablation": _ablation(lines),
        "runs": _runs(ours, lines),
    }


def _trackers(lines: Sequence[Line], test: str) -> str:
    """Return all trackers on one data set: all metrics at the full frame rate, then IDF1 at the others."""
    trained = [line for line in lines if line["name"] == OURS and PARTNER[line["train"]] == test]
    runs = {line["name"]: [line["test"]] for line in lines if not line["train"]}
    if trained:
        runs[f"em-kalman, from {trained[0]['train']}"] = [line["test"] for line in trained if line["test"]]
    rows = []
    for name, tests in runs.items():
        cells = [spread([one[f"{test}, {RATES[0]}"][metric] for one in tests]) for metric in METRICS]
        cells += [spread([one[f"{test}, {rate}"]["IDF1"] for one in tests]) for rate in RATES[1:]]
        rows.append((name, *cells))
    return markdown((f"**on {test}**", *METRICS, *(f"IDF1, {rate}" for rate in RATES[1:])), rows)


def _generalisation(ours: Sequence[Line]) -> str:
    """Return IDF1 at the full rate by training and test data."""
    rows = []
    for train in SOURCES:
        mine = [line for line in ours if line["train"] == train]
        tests = [line["test"] for line in mine]
        keys = [f"{test}, {RATES[0]}" for test in SOURCES]
        cells = [[one[key]["IDF1"] for one in tests if key in one] for key in keys]
        rows.append((f"from {train}", *(spread(cell) for cell in cells)))
    return markdown(("IDF1, every frame", *(f"on {test}" for test in SOURCES)), rows)


def _ablation(lines: Sequence[Line]) -> str:
    trained = [line for line in lines if line["train"] == "MOT17 public"]
    test = PARTNER["MOT17 public"]
    rows = []
    for name in dict.fromkeys(line["name"] for line in trained):
        mine = [line for line in trained if line["name"] == name]
        good = [line for line in mine if not line["collapsed"]]
        cells = (spread([line["test"][f"{test}, {rate}"]["IDF1"] for line in good]) for rate in RATES)
        switches = spread([line["test"][f"{test}, {RATES[0]}"]["IDSW"] for line in good])
        rows.append((name, str(len(mine)), str(len(mine) - len(good)), *cells, switches))
    header = ("learned from MOT17 public, tested on MOT15", "seeds", "collapsed")
    return markdown((*header, *(f"IDF1, {rate}" for rate in RATES), f"IDSW, {RATES[0]}"), rows)


def _runs(ours: Sequence[Line], lines: Sequence[Line]) -> str:
    if not ours:
        return ""
    machine = ours[0]["machine"]
    commits = " and ".join(sorted({f"{line['date'][:10]} at commit {line['commit']}" for line in lines}))
    worst = max(line["training"]["most_unexplained"] for line in ours if not line["collapsed"])
    return (
        f"{len(ours)} trainings, {sum(line['collapsed'] for line in ours)} of them collapsed; the share of detections "
        f"that belong to no object of the frame before was never above {100 * worst:.0f} % in an epoch after the "
        f"warm-up (collapse is an error from 70 %). A training took "
        f"{spread([line['train_cpu_seconds'] for line in ours])} seconds of one busy core. {machine['cpu']}, "
        f"{machine['system']}; {commits}."
    )
