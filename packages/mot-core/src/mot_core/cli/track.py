"""``mot track``: detections or images in, one result file per sequence out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mot_core.cli.flags import Parameter, add_flags, given_flags, parameters_of, read_settings
from mot_core.cli.jobs import Job, result_path, run_jobs, window
from mot_core.cli.parser import Parser, add_benchmark, add_window
from mot_core.cli.pictures import check_extras
from mot_core.cli.trackers import build_tracker, installed_trackers, load_tracker, takes_images
from mot_core.io import BoxTable, find_sequences
from mot_core.structures import Tracks

EPILOG = """\
examples:
  mot track data/MOT17/train --tracker bytetrack --detections yolox --output out
  mot track data/MOT17/train --tracker ocsort --preset official --detections yolox --output out
  mot track data/mine/street --tracker sort --max-age 50 --plot --output out
  mot track street.mp4 --tracker motip --checkpoint runs/first/last.ckpt --video --output out

The parameters of a tracker are flags too: mot track --tracker NAME --help
"""


@dataclass
class DetectionJob(Job):
    """One sequence whose detections are tracked."""

    detections: BoxTable
    tracker: Any
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        self.with_classes = bool(len(self.detections)) and bool((self.detections.classes >= 0).all())

    def steps(self) -> Iterator[tuple[int, Callable[[], Tracks]]]:
        """Every frame, also those without detections."""
        table, update = self.detections, self.tracker.update
        for number in self.sequence.frame_numbers():
            rows = table.frame(number)
            classes = table.classes[rows] if self.with_classes else None
            boxes, scores = table.boxes_xyxy[rows], table.scores[rows]
            yield number, partial(update, boxes, scores, classes)

    def parameters(self) -> dict[str, Any]:
        """Those of the tracker; of one that does not tell, those that were given."""
        tell = getattr(self.tracker, "parameters", None)
        return dict(tell()) if tell else self.settings

    def inputs(self) -> list[Path]:
        """Detections and ground truth."""
        return [path for path in (self.sequence.ground_truth_path, self.detections.path) if path]

    def details(self) -> dict[str, Any]:
        """The file of the detections."""
        return {"detections": str(self.detections.path)}

    def cells(self) -> dict[str, str]:
        """The number of detections."""
        return {"detections": str(len(self.detections))}


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments; those of the tracker that ``arguments`` name among them."""
    parser.epilog = EPILOG
    probe = Parser(prog=parser.prog, add_help=False)
    probe.add_argument("--tracker")
    name = probe.parse_known_args(arguments)[0].tracker
    tracker = None if name is None else load_tracker(name)
    images = tracker is not None and takes_images(tracker)
    what = "a sequence, or a folder of sequences"
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help=f"{what}; with images, or a folder of images, or a video" if images else what,
    )
    names = ", ".join(installed_trackers())
    parser.add_argument("--tracker", metavar="NAME", required=True, help=f"installed: {names}")
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder for DIR/<sequence>.txt")
    add_benchmark(parser)
    add_window(parser)
    parser.add_argument("--config", metavar="FILE", type=Path, help="YAML with parameters of the tracker; flags win")
    parser.add_argument("--plot", action="store_true", help="also save DIR/<sequence>.png")
    parser.add_argument("--video", action="store_true", help="also save DIR/<sequence>.mp4")
    if images:
        from mot_core.cli.track_images import configure_images  # needs Lightning

        assert tracker is not None
        configure_images(parser, name, tracker)
        return
    parser.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        default="det",
        help="read det/NAME.txt; of several the first that a sequence has (default: det)",
    )
    parser.add_argument("--preset", metavar="NAME", help="named parameters of the tracker, such as official")
    parameters: dict[str, Parameter] = {}
    if tracker is not None:
        parameters = parameters_of(tracker)
        presets = ", ".join(getattr(tracker, "PRESETS", {})) or "none"
        add_flags(parser, f"parameters of {name} (presets: {presets})", parameters)
    parser.set_defaults(run=lambda namespace: run(namespace, tracker, parameters))


def run(arguments: argparse.Namespace, tracker: Callable[..., Any] | None, parameters: dict[str, Parameter]) -> int:
    """Read all detections, track all sequences and report."""
    assert tracker is not None, "--tracker is required"
    check_extras(plot=arguments.plot, video=arguments.video)
    settings = read_settings(arguments.config, parameters) if arguments.config else {}
    settings.update(given_flags(arguments, parameters))
    jobs = _prepare(arguments, tracker, settings)
    run_jobs(arguments, jobs, settings, {"preset": arguments.preset or "default"})
    return 0


def _prepare(
    arguments: argparse.Namespace, tracker: Callable[..., Any], settings: dict[str, Any]
) -> list[DetectionJob]:
    """Read all detections and build all trackers, so that bad input is found before anything is written."""
    jobs = []
    for sequence in find_sequences(arguments.source, benchmark=arguments.benchmark):
        part = window(sequence, arguments)
        built = build_tracker(tracker, arguments.preset, settings, part.benchmark, part.name)
        detections = part.detections(arguments.detections)
        _check_scores(detections, built, settings)
        job = DetectionJob(part, detections, built, settings)
        result_path(job, arguments.output)
        jobs.append(job)
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
