"""``mot eval``: scores of result files against ground truth."""

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

Ratios are in percent. Results of MOT17-nn-DPM, -SDP and -FRCNN are scored against any ground truth of MOT17-nn.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot eval``."""
    parser.epilog = EPILOG
    parser.add_argument(
        "results",
        metavar="RESULTS",
        type=Path,
        help="folder with <sequence>.txt files, or with a subfolder data that has them",
    )
    parser.add_argument(
        "--gt", metavar="ROOT", type=Path, required=True, help="ground truth: a sequence or a folder of sequences"
    )
    add_benchmark(parser)
    add_window(parser)
    parser.add_argument("--json", metavar="FILE", help="write all scores as JSON; - for stdout")
    parser.add_argument("--csv", metavar="FILE", help="write all scores as CSV; - for stdout")
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Compute the scores, print the tables and write the files."""
    if arguments.json == arguments.csv == "-":
        arguments.usage_error(
            "--json and --csv: expected at most one - (stdout), got two; give one of them a file name"
        )
    from mot_core.evaluation import evaluate, print_scores

    evaluation = evaluate(
        arguments.results,
        arguments.gt,
        benchmark=arguments.benchmark,
        frames=arguments.frames,
        split=arguments.split,
        progress=True,
    )
    # Keep tables out of stdout if another program reads the scores from there.
    print_scores(evaluation, open_console(stderr="-" in (arguments.json, arguments.csv)))
    for note in evaluation.notes:
        print(f"mot: note: {note}", file=sys.stderr)
    if arguments.json:
        write_text(arguments.json, json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n")
    if arguments.csv:
        write_text(arguments.csv, evaluation.to_csv())
    return 0


def write_text(path: str, text: str) -> None:
    """Write ``text`` to a file atomically, or to stdout if ``path`` is ``-``."""
    if path == "-":
        sys.stdout.write(text)
        return
    with open_atomic(path) as file:
        file.write(text)
