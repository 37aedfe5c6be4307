"""docs/association_results.md, from ``results/association_quality/compare.jsonl``: the conclusion first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.association_quality.sets import METRICS, RATES
from benchmarks.pages import fill, markdown, spread
from benchmarks.paired import Line, read
from benchmarks.provenance import ROOT

PAGE = ROOT / "docs" / "association_results.md"
TITLES = {"mot-core": "", "roboflow": "roboflow trackers · ", "ultralytics": "Ultralytics · ", "boxmot": "BoxMOT · "}
OURS = "mot-core"
EM_KALMAN = ("em-kalman, ready", "em-kalman, adapted")
PLACES = ("first", "level with the first", "behind")
LEVEL = 0.3  # points of IDF1 up to which a tracker is level with the first

Entry = tuple[str, str]  # package and tracker


def refresh(results: Path, page: Path = PAGE, unavailable: Mapping[str, str] | None = None) -> None:
    """Write the conclusion and the tables between the markers of ``page``; a missing page is copied from docs."""
    if not page.exists():
        page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    fill(page, render(read(results), unavailable or {}))


def render(lines: Sequence[Line], unavailable: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every marker."""
    used = _best_inputs(lines)
    names = list(dict.fromkeys(line["set"] for line in lines))
    return {
        "conclusion": _conclusion(used, names),
        "idf1": _overview(used, names, "IDF1"),
        "hota": _overview(used, names, "HOTA"),
        "details": "\n\n".join(_details(used, name) for name in names),
        "runs": _runs(lines, unavailable),
    }


def _best_inputs(lines: Iterable[Line]) -> list[Line]:
    """Keep, of the two inputs of a peer (all detections, strong ones), the one with the higher IDF1."""
    best: dict[tuple[Any, ...], Line] = {}
    for line in lines:
        key = tuple(line[name] for name in ("package", "tracker", "set", "step", "seed"))
        same_input = key in best and best[key]["min_score"] == line["min_score"]
        if key not in best or same_input or line["IDF1"] > best[key]["IDF1"]:
            best[key] = line
    return list(best.values())


def _values(lines: Iterable[Line], name: str, step: int, metric: str) -> dict[Entry, list[float]]:
    """Return the values of every tracker over its seeds."""
    found: dict[Entry, list[float]] = {}
    for line in lines:
        if (line["set"], line["step"]) == (name, step):
            found.setdefault((line["package"], line["tracker"]), []).append(line[metric])
    return found


def _conclusion(lines: Sequence[Line], names: Sequence[str]) -> str:
    """Return counts, and one sentence per em-kalman model and frame rate: where it is first, level or behind."""
    sentences, counts = [], {tracker: dict.fromkeys(PLACES, 0) for tracker in EM_KALMAN}
    for tracker in EM_KALMAN:
        for step, rate in RATES.items():
            places: dict[str, list[str]] = {kind: [] for kind in PLACES}
            for name in names:
                values = {entry: mean(found) for entry, found in _values(lines, name, step, "IDF1").items()}
                mine = values.get((OURS, tracker))
                others = {entry: value for entry, value in values.items() if entry[1] not in EM_KALMAN}
                if mine is None or not others:
                    continue
                rival = max(others, key=lambda entry: others[entry])
                gap = mine - others[rival]
                kind = PLACES[0] if gap > LEVEL else PLACES[1] if gap >= -LEVEL else PLACES[2]
                counts[tracker][kind] += 1
                places[kind].append(f"{name} ({gap:+.1f}, {_title(rival)})")
            said = "; ".join(f"{kind} on {', '.join(where)}" for kind, where in places.items() if where)
            if said:
                sentences.append(f"* **{tracker}, {rate}**: {said}.")
    total = " and ".join(
        f"{tracker} is {', '.join(f'{kind} in {number}' for kind, number in found.items())}"
        for tracker, found in counts.items()
    )
    cases = sum(counts[EM_KALMAN[0]].values())
    return "\n".join([f"Of {cases} combinations of data set and frame rate, by IDF1, {total}:", "", *sentences])


def _overview(lines: Sequence[Line], names: Sequence[str], metric: str) -> str:
    """Return a metric of every tracker (rows) on every data set and frame rate (columns); the best are bold."""
    columns = [(name, step) for step in RATES for name in names if _values(lines, name, step, metric)]
    values = {column: _values(lines, *column, metric) for column in columns}
    best = {column: max(mean(found) for found in cells.values()) for column, cells in values.items()}
    rows = []
    for entry in dict.fromkeys((line["package"], line["tracker"]) for line in lines):
        cells = []
        for column in columns:
            found = values[column].get(entry, [])
            text = spread(found)
            cells.append(f"**{text}**" if found and mean(found) == best[column] else text)
        rows.append((_title(entry), *cells))
    header = [f"{name}, {RATES[step]}" if step > 1 else name for name, step in columns]
    return markdown((metric, *header), rows)


def _details(lines: Sequence[Line], name: str) -> str:
    """Return all metrics at the full frame rate on one data set."""
    values = {metric: _values(lines, name, 1, metric) for metric in METRICS}
    rows = [(_title(entry), *(spread(values[metric][entry]) for metric in METRICS)) for entry in values[METRICS[0]]]
    return markdown((f"**{name}**", *METRICS), rows)


def _runs(lines: Sequence[Line], unavailable: Mapping[str, str]) -> str:
    if not lines:
        return "No measurements."
    machines = ", ".join(sorted({f"{line['machine']['cpu']}, {line['machine']['system']}" for line in lines}))
    commits = ", ".join(sorted({f"{line['date'][:10]} at commit {line['commit']}" for line in lines}))
    seconds = [line["training_cpu_seconds"] for line in lines if "training_cpu_seconds" in line]
    text = [f"{len(lines)} runs on {machines}; {commits}."]
    if seconds:
        kept = dict.fromkeys(f"{line['set']}, {RATES[line['step']]}" for line in lines if line.get("kept_ready"))
        text.append(f"A training took {spread(seconds)} seconds of one core.")
        text.append(f"The ready model was likelier than the trained one on: {'; '.join(kept) or 'none'}.")
    text += [f"{TITLES[package].rstrip(' ·')} could not be installed: `{why}`." for package, why in unavailable.items()]
    measured = {line["package"] for line in lines}
    absent = [title.rstrip(" ·") for package, title in TITLES.items() if package not in {*measured, *unavailable}]
    text += [f"Not measured: {', '.join(absent)}."] if absent else []
    return " ".join(text)


def _title(entry: Entry) -> str:
    return f"{TITLES.get(entry[0], f'{entry[0]} · ')}{entry[1]}"
