"""``mot track``: detections in, one result file per sequence out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mot_core.cli.flags import Parameter, add_flags, given_flags, parameters_of, read_settings
from mot_core.cli.parser import Parser, add_benchmark, add_window
from mot_core.cli.pictures import check_extras, save_pictures
from mot_core.cli.record import write_record
from mot_core.cli.terminal import Progress, open_console, print_table
from mot_core.cli.trackers import build_tracker, installed_trackers, load_tracker
from mot_core.io import BoxTable, KittiResultWriter, ResultWriter, Sequence, find_sequences
from mot_core.structures import to_numpy

EPILOG = """\
examples:
  mot track data/MOT17/train --tracker bytetrack --detections yolox --output out
  mot track data/MOT17/train --tracker ocsort --preset official --detections yolox --output out
  mot track data/mine/street --tracker sort --max-age 50 --plot --output out

The parameters of a tracker are flags too: mot track --tracker NAME --help
"""


@dataclass
class Job:
    """One sequence to track, and what came out."""

    sequence: Sequence
    detections: BoxTable
    tracker: Any
    seconds: float = 0.0
    rows: int = 0
    identities: set[int] = field(default_factory=set)


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments; those of the tracker that ``arguments`` name among them."""
    parser.epilog = EPILOG
    parser.add_argument("source", metavar="SOURCE", type=Path, help="a sequence, or a folder of sequences")
    names = ", ".join(installed_trackers())
    parser.add_argument("--tracker", metavar="NAME", required=True, help=f"installed: {names}")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder for DIR/<sequence>.txt")
    parser.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        default="det",
        help="read det/NAME.txt; of several the first that a sequence has (default: det)",
    )
    add_benchmark(parser)
    add_window(parser)
    parser.add_argument("--preset", metavar="NAME", help="named parameters of the tracker, such as official")
    parser.add_argument("--config", metavar="FILE", type=Path, help="YAML with parameters of the tracker; flags win")
    parser.add_argument("--plot", action="store_true", help="also save DIR/<sequence>.png")
    parser.add_argument("--video", action="store_true", help="also save DIR/<sequence>.mp4")
    parameters: dict[str, Parameter] = {}
    tracker = None
    probe = Parser(prog=parser.prog, add_help=False)
    probe.add_argument("--tracker")
    name = probe.parse_known_args(arguments)[0].tracker
    if name is not None:
        tracker = load_tracker(name)
        parameters = parameters_of(tracker)
        presets = ", ".join(getattr(tracker, "PRESETS", {})) or "none"
        add_flags(parser, f"parameters of {name} (presets: {presets})", parameters)
    parser.set_defaults(run=lambda namespace: run(namespace, tracker, parameters))


def run(arguments: argparse.Namespace, tracker: Callable[..., Any] | None, parameters: dict[str, Parameter]) -> int:
    """Track all sequences and report; files of finished sequences stay whatever happens to later ones."""
    assert tracker is not None, "--tracker is required"
    check_extras(plot=arguments.plot, video=arguments.video)
    settings = read_settings(arguments.config, parameters) if arguments.config else {}
    settings.update(given_flags(arguments, parameters))
    jobs = _prepare(arguments, tracker, settings)
    done: list[Job] = []
    steps = sum(job.sequence.length for job in jobs) * (2 if arguments.video else 1)
    try:
        with Progress(steps) as progress:
            for job in jobs:
                progress.describe(f"tracking {job.sequence.name}")
                result = arguments.output / f"{job.sequence.name}.txt"
                _track(job, result, progress.advance)
                done.append(job)
                if arguments.plot or arguments.video:
                    progress.describe(f"drawing {job.sequence.name}")
                    save_pictures(job.sequence, result, arguments.plot, arguments.video, progress.advance)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_what_is_kept(done, jobs, arguments.output)) from None
    finally:
        if done:
            write_record(arguments, settings, done)
    _report(done, arguments.output)
    return 0


def _prepare(arguments: argparse.Namespace, tracker: Callable[..., Any], settings: dict[str, Any]) -> list[Job]:
    """Read all detections and build all trackers, so that bad input is found before anything is written."""
    jobs = []
    for sequence in find_sequences(arguments.source, benchmark=arguments.benchmark):
        part = sequence
        if arguments.frames:
            part = sequence.window(*arguments.frames)
        elif arguments.split == "half-val":
            part = sequence.half_val()
        built = build_tracker(tracker, arguments.preset, settings, part.benchmark, part.name)
        detections = part.detections(arguments.detections)
        _check_scores(detections, built, settings)
        result = arguments.output / f"{part.name}.txt"
        if result.resolve() in {path.resolve() for path in (part.ground_truth_path, detections.path) if path}:
            raise ValueError(f"--output: {result} is an input of this sequence; choose another folder")
        jobs.append(Job(part, detections, built))
    return jobs


def _check_scores(detections: BoxTable, tracker: object, settings: dict[str, Any]) -> None:
    """Refuse thresholds made for scores in [0, 1] on other scores, unless the user chose them."""
    thresholds = [name for name in getattr(tracker, "score_thresholds", ()) if name not in settings]
    if not thresholds or not len(detections):
        return
    lowest, highest = detections.scores.min(), detections.scores.max()
    if lowest < 0 or highest > 1:
        flags = " and ".join("--" + name.replace("_", "-") for name in thresholds)
        raise ValueError(
            f"{detections.path}: the scores lie between {lowest:g} and {highest:g}, but the thresholds of the tracker "
            f"expect scores between 0 and 1; choose thresholds for these scores with {flags}"
        )


def _track(job: Job, result: Path, on_frame: Callable[[], None]) -> None:
    """Track one sequence into ``result``, which appears when it is complete."""
    sequence, table, update = job.sequence, job.detections, job.tracker.update
    with_classes = bool(len(table)) and bool((table.classes >= 0).all())
    is_kitti = sequence.rules.layout == "kitti"
    with KittiResultWriter(result) if is_kitti else ResultWriter(result, with_classes=with_classes) as output:
        for number in sequence.frame_numbers():
            rows = table.frame(number)
            classes = table.classes[rows] if with_classes else None
            start = time.perf_counter()
            try:
                tracks = update(table.boxes_xyxy[rows], table.scores[rows], classes)
            except ValueError as error:
                raise ValueError(f"{sequence.name}, frame {number}: {error}") from error
            job.seconds += time.perf_counter() - start
            output.write(number, tracks)
            job.rows += len(tracks)
            job.identities.update(to_numpy(tracks.ids).tolist())
            on_frame()


def _what_is_kept(done: list[Job], jobs: list[Job], output: Path) -> str:
    names = ", ".join(job.sequence.name for job in done) or "none"
    return (
        f"{len(done)} of {len(jobs)} sequences are finished and kept in {output} ({names}); "
        "of the others nothing was written"
    )


def _report(done: list[Job], output: Path) -> None:
    rows = [
        [
            job.sequence.name,
            str(job.sequence.length),
            str(len(job.detections)),
            str(len(job.identities)),
            str(job.rows),
            f"{job.sequence.length / max(job.seconds, 1e-9):.0f}",
        ]
        for job in done
    ]
    columns = ["sequence", "frames", "detections", "tracks", "rows", "frames/s"]
    print_table(f"results in {output}", columns, rows, open_console())
    ours = {f"{job.sequence.name}.txt" for job in done}
    others = sorted(path.name for path in output.glob("*.txt") if path.name not in ours)
    if others:
        print(
            f"mot: note: {output} also holds results of other runs, which `mot eval` would score too: "
            f"{', '.join(others)}",
            file=sys.stderr,
        )
