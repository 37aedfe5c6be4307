"""``mot data``: inspection of a dataset before it is used."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mot_core.cli.eval import write_text
from mot_core.cli.parser import add_benchmark, add_command
from mot_core.cli.terminal import open_console, print_note, print_table

if TYPE_CHECKING:
    from mot_core.io import CheckReport

EPILOG = """\
examples:
  mot data check data/MOT17/train
  mot data check data/mine --benchmark generic --json -

The exit code is 1 if there are errors; warnings do not change it.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare ``mot data check``."""
    parser.epilog = EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "list the sequences, and every problem with its file, line and fix"
    check = add_command(commands, "check", summary, epilog=EPILOG)
    check.add_argument("path", metavar="PATH", type=Path, help="a sequence or a folder of sequences")
    add_benchmark(check)
    check.add_argument("--json", metavar="FILE", help="write the report as JSON; - for stdout")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the data, print the report, and return exit code 1 if there are errors."""
    from mot_core.io import check
    from mot_core.io.guess import fallback_note

    report = check(arguments.path, arguments.benchmark)
    print_report(report, to_stderr=arguments.json == "-")
    print_note(fallback_note(arguments.benchmark, report.benchmark) if report.ok else None)
    if arguments.json:
        write_text(arguments.json, json.dumps(report.to_dict(), indent=1, default=str) + "\n")
    return 0 if report.ok else 1


def print_report(report: CheckReport, *, to_stderr: bool = False) -> None:
    """Print the sequences as a table, followed by the problems, one per line."""
    console = open_console(stderr=to_stderr)
    rows = []
    for one in report.sequences:
        size = f"{one.image_size[1]}x{one.image_size[0]}" if one.image_size else "-"
        detections = ", ".join(f"{name} {count}" for name, count in one.detections.items())
        counts = ["-" if count is None else str(count) for count in (one.boxes, one.identities)]
        rate = "-" if one.frame_rate is None else f"{one.frame_rate:g}"
        rows.append([one.name, str(one.frames), size, rate, *counts, str(one.images), detections or "-"])
    columns = ["sequence", "frames", "size", "fps", "boxes", "identities", "images", "detections"]
    print_table(f"{report.path}, rules of {report.benchmark}", columns, rows, console, breaks="detections")
    for problem in report.problems:
        console.print(f"{problem.severity}: {problem}", soft_wrap=True)
    errors = sum(problem.severity == "error" for problem in report.problems)
    warnings = len(report.problems) - errors
    console.print(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}" if report.problems else "no problems")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
