"""``mot eval``: scores of result files against ground truth."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mot_core.cli.parser import add_benchmark, add_window
from mot_core.cli.terminal import open_console, print_note
from mot_core.io import open_atomic

EPILOG = """\
examples:
  mot eval out --gt data/MOT17/train
  mot eval out --gt data/MOT17/train --split half-val --json scores.json
  mot eval out --gt data/mine --benchmark generic --csv - > scores.csv
  mot eval out --gt data/MOT17/train --why --detections yolox

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
    parser.add_argument(
        "--why", action="store_true", help="also count the identity switches by cause, and list them with frame numbers"
    )
    parser.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        help="with --why: detections that the tracker had, to find switches after a gap with an unused box",
    )
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Compute the scores, print the tables and write the files."""
    if arguments.json == arguments.csv == "-":
        arguments.usage_error(
            "--json and --csv: expected at most one - (stdout), got two; give one of them a file name"
        )
    if arguments.detections and not arguments.why:
        arguments.usage_error("--detections: expected --why with it, got none; add --why or leave --detections out")
    from mot_core.evaluation import evaluate, explain_switches, print_scores, print_switches

    window = {"benchmark": arguments.benchmark, "frames": arguments.frames, "split": arguments.split}
    evaluation = evaluate(arguments.results, arguments.gt, **window, progress=True)
    # Keep tables out of stdout if another program reads the scores from there.
    console = open_console(stderr="-" in (arguments.json, arguments.csv))
    print_scores(evaluation, console)
    report = evaluation.to_dict()
    if arguments.why:
        switches = explain_switches(arguments.results, arguments.gt, **window, detections=arguments.detections)
        print_switches(switches, console)
        report["switches"] = [switch.to_dict() for switch in switches]
    for note in evaluation.notes:
        print_note(note)
    if arguments.json:
        write_text(arguments.json, json.dumps(report, indent=1, allow_nan=False) + "\n")
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
