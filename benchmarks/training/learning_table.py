"""Tables of docs/results.md, between its markers, from ``results/training/learning.jsonl``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import paired
from benchmarks.pages import fill, markdown, spread
from benchmarks.paired import Get, Line
from benchmarks.provenance import RESULTS_FOLDER, ROOT

RESULTS = RESULTS_FOLDER / "training/learning.jsonl"
PAGE = ROOT / "docs" / "results.md"
METRICS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "IDSW")


def refresh(results: Path = RESULTS, page: Path = PAGE) -> None:
    """Put the tables of ``results`` between the markers of ``page``."""
    fill(page, {"learning": render(read(results))})


def read(results: Path = RESULTS) -> list[Line]:
    """Return the last line of every tracker and seed, with recipe and arguments of the tracker's last line."""
    lines = paired.current(paired.read(results), "recipe", "arguments")
    newest = {(line["tracker"], line["seed"]): line for line in lines}
    return [newest[key] for key in sorted(newest)]


def render(lines: Sequence[Line]) -> str:
    """Return all tables as Markdown: for each tracker its cost, and its metrics next to the baselines."""
    parts = []
    for name in sorted({line["tracker"] for line in lines}):
        parts += _tracker(name, [line for line in lines if line["tracker"] == name])
    return "\n\n".join(parts)


def _tracker(name: str, lines: Sequence[Line]) -> list[str]:
    first = lines[0]
    seeds = f"seed{'s' if len(lines) > 1 else ''} {', '.join(str(line['seed']) for line in lines)}"
    tests = [line["test"] for line in lines]
    machine = first["machine"]
    dates = " and ".join(sorted({line["date"][:10] for line in lines}))
    commits = ", ".join(sorted({line["commit"] for line in lines}))
    rows = []
    for tracker in tests[0]["trackers"]:
        getters: dict[str, Get] = {
            key: lambda line, tracker=tracker, key=key: line["test"]["trackers"][tracker][key]  # type: ignore[misc]
            for key in METRICS
        }
        cells = paired.values_row(tracker, lines, getters)
        rows.append((cells[0], *cells[2:]))  # the number of seeds is in the text
    each = ", ".join(f"{test['recall']:.1f}" for test in tests)
    recall = f"{spread([test['recall'] for test in tests])} % (per seed: {each})"
    hota = ", ".join(f"{test['trackers'][name]['HOTA']:.1f}" for test in tests)
    videos = first["test"].get("videos", 20)
    if all("recall_alone" in test and test["recall_alone"] != test["recall"] for test in tests):
        recall += f" and without track queries {spread([test['recall_alone'] for test in tests])} %"
    return [
        f"### {name}",
        f"{first['parameters'] / 1e6:.2f} million parameters, {seeds}: {first['steps']:,} steps in "
        f"{spread([line['cpu_minutes'] for line in lines])} minutes on one core ({machine['cpu']}, "
        f"{machine['system']}; {dates} at commit {commits}). The {videos} test videos show "
        f"every {first['scene']['frame_step']}th frame. HOTA per seed: {hota}. Detections at IoU 0.5: recall {recall}, "
        f"precision {spread([test['precision'] for test in tests])} %.",
        markdown(("on its detections", *METRICS), rows),
    ]
