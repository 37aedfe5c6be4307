"""Tables of benchmarks/README.md, between its markers, from a result file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from benchmarks.pages import fill
from benchmarks.provenance import RESULTS_FOLDER, ROOT

README = ROOT / "benchmarks" / "README.md"
RESULTS = RESULTS_FOLDER / "association/speed.json"

Report: TypeAlias = Mapping[str, Any]
OURS = "mot_core"
TITLES = {"mot_core": "**mot-core**", "roboflow": "roboflow trackers", "boxmot": "BoxMOT"}


def read(path: Path = RESULTS) -> Report:
    """Return the recorded measurement."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; measure first: python -m benchmarks.association.speed")
    report: Report = json.loads(path.read_text())
    return report


def refresh(report: Report, readme: Path = README) -> None:
    """Put the tables of ``report`` between the markers of ``readme``."""
    fill(readme, {"association": render(report)})


def render(report: Report) -> str:
    """Return all tables of ``report`` as Markdown."""
    machine = report["machine"]
    parts = [
        f"Measured {report['date']} at commit {report['commit']} on {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']}. Median of {report['runs']} runs.",
        "**Frames per CPU second** (higher is better), by detections per frame",
        _by_stream(report, lambda row: f"{_speed(row):,.0f}"),
        *_ratios(report),
        "**Milliseconds per frame**, p50 / p95",
        _by_stream(report, lambda row: f"{median(row['p50_ms']):.2f} / {median(row['p95_ms']):.2f}"),
        "**What the speed buys**: HOTA / IDF1 / identity switches on the same streams, default parameters",
        _by_stream(report, lambda row: f"{row['HOTA']:.1f} / {row['IDF1']:.1f} / {row['IDSW']:,}"),
        f"**Memory** in MiB after {report['memory_frames']:,} frames at {report['memory_stream']} per frame. End and "
        "peak hold the libraries and the stream itself; growth is what came after the first tenth.",
        _memory(report),
        "**Streams**",
        _markdown(
            ("stream", "frames", "detections per frame", "what it is"),
            [
                (name, f"{stream['frames']:,}", f"{stream['density']:.1f}", stream["description"])
                for name, stream in report["streams"].items()
            ],
            align="---",
        ),
        "<details><summary>Versions and parameters</summary>",
        _markdown(("package", "versions", "parameters"), _packages(report), align="---"),
        "</details>",
    ]
    return "\n\n".join(parts)


def _by_stream(report: Report, cell: Callable[[Mapping[str, Any]], str]) -> str:
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in report["results"]:
        cells.setdefault((row["package"], row["tracker"]), {})[row["stream"]] = cell(row)
    streams = list(report["streams"])
    return _markdown(
        ("tracker", *streams),
        [(_title(*key), *(values.get(stream, "-") for stream in streams)) for key, values in cells.items()],
    )


def _ratios(report: Report) -> Iterable[str]:
    """Compare our ByteTrack with the fastest of a peer, per stream: in Python, and including compiled ones."""
    peers = [row for row in report["results"] if row["package"] != OURS and row["tracker"].startswith("ByteTrack")]
    in_python = [row for row in peers if row["tracker"] == "ByteTrack"]
    ours = {row["stream"]: row for row in report["results"] if (row["package"], row["tracker"]) == (OURS, "ByteTrack")}
    for name, rivals in (("in Python", in_python), ("compiled ones included", peers)):
        if name == "in Python" or len(rivals) > len(in_python):
            said = []
            for stream, row in ours.items():
                fastest = max((r for r in rivals if r["stream"] == stream), key=_speed, default=None)
                if fastest is not None:
                    said.append(f"{_speed(row) / _speed(fastest):.1f}x at {stream} ({_package(fastest['package'])})")
            if said:
                yield f"Our ByteTrack against the fastest ByteTrack of a peer, {name}: {', '.join(said)}."


def _speed(row: Mapping[str, Any]) -> float:
    return float(median(row["frames_per_second"]))


def _memory(report: Report) -> str:
    return _markdown(
        ("tracker", "growth", "end", "peak"),
        [
            (
                _title(row["package"], row["tracker"]),
                f"{row['growth_mib']:.1f}",
                f"{row['end_mib']:.0f}",
                f"{row['peak_mib']:.0f}",
            )
            for row in report["memory"]
        ],
    )


def _packages(report: Report) -> Iterable[tuple[str, str, str]]:
    for name, package in report["packages"].items():
        if "unavailable" in package:
            yield _package(name), "not measured", package["unavailable"]
            continue
        versions = ", ".join(f"{key} {value}" for key, value in package["versions"].items())
        parameters = "<br>".join(
            f"{tracker}: {', '.join(f'{key}={_short(value)}' for key, value in values.items())}"
            for tracker, values in package["trackers"].items()
        )
        yield _package(name), versions, parameters


def _short(value: str) -> str:
    return value if len(value) < 40 else "(see the result file)"


def _package(name: str) -> str:
    return TITLES.get(name, name.capitalize())


def _title(package: str, tracker: str) -> str:
    return f"{_package(package)} · {tracker}"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "---:") -> str:
    lines = [header, ["---", *[align] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
