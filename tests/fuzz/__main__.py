"""Command line of the fuzz session; see ``--help``."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.provenance import provenance
from fuzz.runner import BATTERIES, Tally, load, run_battery, run_case, run_cases


def main() -> int:
    """Run the batteries in turn, print a table, and return 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="time for all batteries (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other cases (default: %(default)s)")
    parser.add_argument("--battery", action="append", choices=BATTERIES, help="only this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="batteries at the same time (default: %(default)s)")
    parser.add_argument("--replay", metavar="BATTERY:NUMBER", help="repeat one case and show its traceback")
    parser.add_argument("--json", type=Path, help="write cases and failures by battery to this file")
    parser.add_argument(
        "--output", type=Path, default=Path("fuzz-failures"), help="folder of failing cases (default: %(default)s)"
    )
    for hidden in ("--child", "--first", "--seconds"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        run_cases(arguments.child, arguments.seed, int(arguments.first), float(arguments.seconds), output)
        return 0
    if arguments.replay:
        return _replay(arguments.replay, arguments.seed, output)
    chosen = arguments.battery or list(BATTERIES)
    seconds = 60 * arguments.minutes * arguments.jobs / len(chosen)
    console = Console()
    tallies = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for tally in pool.map(lambda name: run_battery(name, arguments.seed, seconds, output), chosen):
            console.print(f"{tally.battery}: {tally.cases} cases, {len(tally.failures)} failures", highlight=False)
            tallies.append(tally)
    console.print(_table(tallies))
    failed = sum(len(tally.failures) for tally in tallies)
    if arguments.json:
        report = {
            **provenance(),
            "seed": arguments.seed,
            "minutes": arguments.minutes,
            "cases": {tally.battery: tally.cases for tally in tallies},
            "failures": {tally.battery: tally.failures for tally in tallies},
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if failed:
        console.print(f"{failed} failing cases with their files: {output}", highlight=False)
    return 1 if failed else 0


def _replay(which: str, seed: int, output: Path) -> int:
    battery, _, number = which.partition(":")
    if battery not in BATTERIES or not number.isdecimal():
        sys.exit(f"--replay: expected BATTERY:NUMBER with one of {', '.join(BATTERIES)}, got {which}")
    good = run_case(load(battery), battery, seed, int(number), output)
    print("passed" if good else (output / f"{battery}-{int(number):06d}" / "failure.txt").read_text())
    return 0 if good else 1


def _table(tallies: list[Tally]) -> Table:
    table = Table(title="fuzz", title_justify="left")
    for name in ("battery", "what", "cases", "failures", "cases/s"):
        table.add_column(name, justify="left" if name in ("battery", "what") else "right")
    for tally in tallies:
        speed = f"{tally.cases / max(tally.seconds, 1e-9):.1f}"
        table.add_row(tally.battery, BATTERIES[tally.battery], str(tally.cases), str(len(tally.failures)), speed)
    table.add_section()
    total = sum(tally.cases for tally in tallies), sum(len(tally.failures) for tally in tallies)
    table.add_row("all", "", *map(str, total), "")
    return table


if __name__ == "__main__":
    sys.exit(main())
