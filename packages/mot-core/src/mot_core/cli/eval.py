"""``mot eval``: result files and ground truth in, scores out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mot_core.cli.parser import add_benchmark, add_window
from mot_core.cli.terminal import open_console
from mot_core.io import open_atomic

EPILOG = """\
examples:
  mot eval out --gt data/MOT17/train
  mot eval out --gt data/MOT17/train --split half-val --json scores.json
  mot eval out --gt data/mine --benchmark generic --csv - > scores.csv

Ratios are in percent. A result of MOT17-nn-DPM, -SDP or -FRCNN is scored against any ground truth of MOT17-nn.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "results", metavar="RESULTS", type=Path, help="folder with <sequence>.txt, or whose folder data has them"
    )
    parser.add_argument(
        "--gt", metavar="ROOT", type=Path, required=True, help="ground truth: a sequence, or a folder of sequences"
    )
    add_benchmark(parser)
    add_window(parser)
    parser.add_argument("--json", metavar="FILE", help="write all scores as JSON; - is stdout")
    parser.add_argument("--csv", metavar="FILE", help="write all scores as a table; - is stdout")
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Score, print the tables, write the files."""
    if arguments.json == arguments.csv == "-":
        arguments.usage_error("--json - and --csv - would both go to stdout; give one of them a file")
    from mot_core.evaluation import evaluate, print_scores

    evaluation = evaluate(
        arguments.results,
        arguments.gt,
        benchmark=arguments.benchmark,
        frames=arguments.frames,
        split=arguments.split,
        progress=True,
    )
    # What another program reads from stdout stays free of tables.
    print_scores(evaluation, open_console(stderr="-" in (arguments.json, arguments.csv)))
    for note in evaluation.notes:
        print(f"mot: note: {note}", file=sys.stderr)
    if arguments.json:
        write_text(arguments.json, json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n")
    if arguments.csv:
        write_text(arguments.csv, evaluation.to_csv())
    return 0


def write_text(path: str, text: str) -> None:
    """Write ``text`` to a file, complete or not at all; ``-`` is stdout."""
    if path == "-":
        sys.stdout.write(text)
        return
    with open_atomic(path) as file:
        file.write(text)
