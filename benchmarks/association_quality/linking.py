"""Does joining tracks after the last frame help? ``mot track --link N`` on real sequences.

    python -m benchmarks.association_quality.linking            run what is missing, and write the table
    python -m benchmarks.association_quality.linking --table    only write the table in docs/association_results.md

Every data set of the comparison is tracked at every frame and one in 3, and scored without linking and with several
largest gaps. Ground truth is used for scores only. Each run appends a line to
``results/association_quality/linking.jsonl``; an interrupted measurement continues where it stopped.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.association_quality.page import PAGE
from benchmarks.association_quality.sets import METRICS, RATES, SETS, Video, found_in, videos
from benchmarks.association_quality.trackers import OURS, run_ours
from benchmarks.pages import fill, markdown
from benchmarks.paired import Line, complete, read
from benchmarks.provenance import RESULTS_FOLDER, SOURCES, provenance
from mot_core.association import OnlineTracker
from mot_core.cli.track.offline import finish
from mot_core.evaluation import Scores
from mot_core.structures import Tracks

RESULTS = RESULTS_FOLDER / "association_quality/linking.jsonl"
MEASURED = (f"{SOURCES}/association", "packages/em-kalman/src", "benchmarks/association_quality")
TRACKERS = ("em-kalman, ready", "ByteTrack")
STEPS = (1, 3)
GAPS = (30, 60)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MOT_DATA"), help="data pack; default: $MOT_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write; default: docs/association_results.md")
    parser.add_argument("--sets", nargs="+", choices=SETS, help="data sets; default: all that the data pack has")
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args(arguments)
    if not options.table:
        if options.data is None:
            parser.error("--data: expected the folder of the data pack; pass it, or set MOT_DATA")
        data = Path(options.data).resolve()
        names = options.sets or found_in(data)
        keys = [{"set": name, "step": step, "tracker": one} for step in STEPS for name in names for one in TRACKERS]
        options.results.parent.mkdir(parents=True, exist_ok=True)
        complete(options.results, keys, partial(measure, data), processes=1)
    fill(options.page, {"linking": render(read(options.results))})


def measure(data: Path, *, set: str, step: int, tracker: str) -> dict[str, Any]:
    """Return the metrics without linking and with each largest gap, and the number of joined tracks."""
    line: dict[str, Any] = provenance(*MEASURED)
    scores: dict[int, list[Scores]] = {gap: [] for gap in (0, *GAPS)}
    joined = dict.fromkeys(scores, 0)
    for video in videos(data, set, step):
        frames = run_ours(OURS[tracker], video)
        before, own = _identities(frames), video.score(frames)
        scores[0] += own
        for gap in GAPS:
            linked = link(OURS[tracker], video, frames, gap)
            lost = before - _identities(linked)
            joined[gap] += lost
            scores[gap] += video.score(linked) if lost else own
    for gap, parts in scores.items():
        combined = Scores.combine(parts)
        line[str(gap)] = {
            "joined": joined[gap],
            **{metric: round(float(combined[metric]), 2) for metric in METRICS},  # type: ignore[arg-type]
        }
    return line


def link(make: Callable[[], OnlineTracker], video: Video, frames: Sequence[Tracks], gap: int) -> list[Tracks]:
    """Return the tracks of every frame with joined identities, as ``mot track --link`` writes them."""
    gain = getattr(make(), "link_gain", None)
    numbered = list(enumerate(frames, 1))
    size = video.sequence.image_size
    return [found for _, found, _ in finish(numbered, link=gap, gain=gain and gain(), image_size=size)]


def render(lines: Sequence[Line]) -> str:
    """Return the table: IDF1 and HOTA without linking, and the differences with it."""
    rows, last = [], {(line["tracker"], line["step"], line["set"]): line for line in lines}
    for (tracker, step, name), line in sorted(last.items(), key=lambda one: _order(*one[0])):
        cells = [f"{name}, {RATES[step]}", tracker, f"{line['0']['IDF1']:.1f}", f"{line['0']['HOTA']:.1f}"]
        for gap in GAPS:
            cells += [_difference(line, gap, "IDF1"), _difference(line, gap, "HOTA"), str(line[str(gap)]["joined"])]
        rows.append(cells)
    for tracker in TRACKERS:
        mine = [line for line in last.values() if line["tracker"] == tracker]
        if mine:
            cells = [f"mean of {len(mine)}", tracker, _mean(mine, 0, "IDF1"), _mean(mine, 0, "HOTA")]
            for gap in GAPS:
                cells += [_mean(mine, gap, "IDF1"), _mean(mine, gap, "HOTA"), _mean(mine, gap, "joined")]
            rows.append(cells)
    columns = [f"{metric}, `--link {gap}`" for gap in GAPS for metric in ("IDF1", "HOTA", "joined")]
    return markdown(("Data set", "Tracker", "IDF1", "HOTA", *columns), rows)


def _identities(frames: Sequence[Tracks]) -> int:
    return len({int(name) for one in frames for name in one.ids})


def _order(tracker: str, step: int, name: str) -> tuple[int, int, int]:
    return TRACKERS.index(tracker), step, list(SETS).index(name)


def _difference(line: Mapping[str, Any], gap: int, metric: str) -> str:
    return f"{line[str(gap)][metric] - line['0'][metric]:+.1f}"


def _mean(lines: Sequence[Line], gap: int, metric: str) -> str:
    """Return the mean over data sets: of the metric without linking, of the difference with it, or of the count."""
    values = [line[str(gap)][metric] for line in lines]
    if gap and metric != "joined":
        return f"{sum(value - line['0'][metric] for value, line in zip(values, lines, strict=True)) / len(lines):+.2f}"
    return f"{sum(values) / len(lines):.1f}"


if __name__ == "__main__":
    main()
