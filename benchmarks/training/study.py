"""A study: tables of rows that differ in the arguments of ``mot fit``, trained over seeds and compared in pairs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.pages import fill
from benchmarks.paired import Get, Line, current, read, table
from benchmarks.provenance import RESULTS_FOLDER, ROOT
from benchmarks.training.learning import TRACKERS
from benchmarks.training.variants import GETTERS, Measure, compare, measure


@dataclass(frozen=True)
class Part:
    """A table of the page: rows that are trained with the same seeds and compared with the first one.

    Attributes:
        tracker: Name of the tracker.
        seeds: Seeds of every row; settings were chosen with seed 0.
        rows: Arguments for ``mot fit`` by the name of the row. Rows of two parts with equal names and arguments are
            trained once.
        shared: Arguments for ``mot fit`` of all rows.
        config: Shipped config of all rows. None: "TRACKER_synthetic".
        start: Arguments for ``mot fit`` of a run for each seed, from whose weights all rows start. Empty: random
            weights.
        measure: Trains and tests a row once.
    """

    tracker: str
    seeds: Sequence[int]
    rows: Mapping[str, Sequence[str]]
    shared: Sequence[str] = ()
    config: str | None = None
    start: Sequence[str] = ()
    measure: Measure = measure

    @property
    def arguments(self) -> dict[str, tuple[str, ...]]:
        """All arguments by the name of the row."""
        return {name: (*self.shared, *more) for name, more in self.rows.items()}


@dataclass(frozen=True)
class Study:
    """The parts of a page of results, and the command line that runs them.

    Attributes:
        name: Name of the method: results are in ``results/NAME/effect.jsonl``, tables in ``docs/NAME_results.md``.
        description: Help of the command line.
        parts: Tables by the names of their markers.
        more: Functions that read further metrics from a line.
    """

    name: str
    description: str | None
    parts: Mapping[str, Part]
    more: Mapping[str, Get] = field(default_factory=dict)

    def main(self, arguments: list[str] | None = None) -> None:
        """Run the command line."""
        results, page = RESULTS_FOLDER / self.name / "effect.jsonl", ROOT / "docs" / f"{self.name}_results.md"
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--part", choices=self.parts, help="table to complete; default: all")
        parser.add_argument("--seeds", type=int, nargs="+", help="seeds of weights and videos; default: the part's")
        parser.add_argument("--output", type=Path, default=ROOT / "runs" / self.name, help="folder for checkpoints")
        parser.add_argument("--results", type=Path, default=results, help="file that gets a line for each run")
        parser.add_argument("--processes", type=int, default=2, help="runs at a time, with one thread each")
        parser.add_argument("--table", action="store_true", help=f"only regenerate docs/{page.name}")
        options = parser.parse_args(arguments)
        for name in self.parts if options.part is None else (options.part,):
            part = self.parts[name]
            if not options.table:
                compare(
                    part.tracker,
                    part.arguments,
                    options.seeds or part.seeds,
                    options.results,
                    options.output,
                    processes=options.processes,
                    config=part.config,
                    start=part.start,
                    measure=part.measure,
                )
        if options.results == results:
            fill(page, self.tables(read(results)))

    def tables(self, lines: Sequence[Line]) -> dict[str, str]:
        """Return the table of every part by the name of its marker."""
        return {name: self._render(part, lines) for name, part in self.parts.items()}

    def _render(self, part: Part, lines: Sequence[Line]) -> str:
        """Return scores of every row over the seeds of a part, and paired differences from the first row."""
        title = TRACKERS[part.tracker]
        config = part.config or f"{part.tracker}_synthetic"
        own = [line for line in lines if line["tracker"] == title and f"--config {config} " in line["command"]]
        known = [line for line in current(own, "recipe") if line["seed"] in part.seeds]
        rows = {
            name: [
                line
                for line in known
                if (line["variant"], line["arguments"], line["start"]) == (name, list(more), list(part.start))
            ]
            for name, more in part.arguments.items()
        }
        return table(f"**{title}**", rows, {**GETTERS, **self.more}) if any(rows.values()) else "Not measured yet."
