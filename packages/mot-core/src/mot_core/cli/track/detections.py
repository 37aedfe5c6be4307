"""``mot track`` with a tracker that takes detections."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mot_core.association.registry import build_tracker, installed_adaptations
from mot_core.cli.terminal import print_note
from mot_core.cli.track.flags import Parameter, given_flags, read_settings
from mot_core.cli.track.job import Job, result_path, window
from mot_core.cli.track.jobs import run_jobs
from mot_core.cli.track.pictures import check_extras
from mot_core.io import BoxTable, Sequence, find_sequences
from mot_core.io.guess import fallback_note
from mot_core.io.images import EXTENSIONS
from mot_core.streams import is_live
from mot_core.structures import Tracks


@dataclass
class DetectionJob(Job):
    """One sequence of detections to track."""

    detections: BoxTable
    tracker: Any
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        self.with_classes = bool(len(self.detections)) and bool((self.detections.classes >= 0).all())

    def steps(self) -> Iterator[tuple[int, Callable[[], Tracks]]]:
        """Yield every frame, including frames without detections."""
        table, update = self.detections, self.tracker.update
        for number in self.sequence.frame_numbers():
            rows = table.frame(number)
            classes = table.classes[rows] if self.with_classes else None
            boxes, scores = table.boxes_xyxy[rows], table.scores[rows]
            yield number, partial(update, boxes, scores, classes)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the tracker, or the given ones if it has no method ``parameters``."""
        parameters = getattr(self.tracker, "parameters", None)
        return dict(parameters()) if parameters else self.settings

    def inputs(self) -> list[Path]:
        """Return the files of detections and ground truth."""
        return [path for path in (self.sequence.ground_truth_path, self.detections.path) if path]

    def details(self) -> dict[str, Any]:
        """Return the path of the detections."""
        return {"detections": str(self.detections.path)}

    def cells(self) -> dict[str, str]:
        """Return the number of detections."""
        return {"detections": str(len(self.detections))}


def run(arguments: argparse.Namespace, tracker: Callable[..., Any] | None, parameters: dict[str, Parameter]) -> int:
    """Read all detections, track all sequences and print a summary."""
    assert tracker is not None, "--tracker is required"
    check_extras(plot=arguments.plot, video=arguments.video)
    settings = read_settings(arguments.config, parameters) if arguments.config else {}
    settings.update(given_flags(arguments, parameters))
    jobs = _prepare(arguments, tracker, settings)
    if arguments.adapt:
        adaptation = installed_adaptations()[arguments.tracker].load()
        settings |= adaptation([(job.sequence, job.detections) for job in jobs], settings, arguments.output)
        for job in jobs:
            job.tracker = _build(arguments, tracker, settings, job.sequence)
    print_note(fallback_note(arguments.benchmark, jobs[0].sequence.benchmark))
    if arguments.detections is None:
        others = {job.detections.path for job in jobs} - {job.sequence.detection_path("det") for job in jobs}
        for path in sorted(str(path) for path in others):
            print_note(f"the only detections are used, {path}")
    run_jobs(arguments, jobs, settings, {"preset": arguments.preset or "default"})
    return 0


def _prepare(
    arguments: argparse.Namespace, tracker: Callable[..., Any], settings: dict[str, Any]
) -> list[DetectionJob]:
    """Read all detections and build all trackers, so that invalid input is found before anything is written."""
    source = Path(arguments.source)
    if source.is_file() or is_live(arguments.source) or _is_image_folder(source):
        raise ValueError(
            f"SOURCE: expected a folder with detections, got {arguments.source}; add a detector with --detector "
            "onnx:FILE, or use a trained tracker with --checkpoint FILE"
        )
    jobs = []
    for sequence in find_sequences(arguments.source, benchmark=arguments.benchmark):
        part = window(sequence, arguments)
        built = _build(arguments, tracker, settings, part)
        detections = part.detections(arguments.detections)
        _check_scores(detections, built, settings)
        job = DetectionJob(part, detections, built, settings)
        result_path(job, arguments.output)
        jobs.append(job)
    return jobs


def _is_image_folder(path: Path) -> bool:
    """Return whether a folder holds images but is no sequence."""
    return not (path / "seqinfo.ini").exists() and any(one.suffix.lower() in EXTENSIONS for one in path.glob("*.*"))


def _build(
    arguments: argparse.Namespace, tracker: Callable[..., Any], settings: dict[str, Any], sequence: Sequence
) -> Any:
    where = sequence.benchmark, sequence.name, sequence.frame_rate
    return build_tracker(tracker, arguments.preset, settings, *where)


def _check_scores(detections: BoxTable, tracker: object, settings: dict[str, Any]) -> None:
    """Raise ValueError if scores are outside [0, 1] and the user set no thresholds for them."""
    thresholds = [name for name in getattr(tracker, "score_thresholds", ()) if name not in settings]
    if not thresholds or not len(detections):
        return
    lowest, highest = detections.scores.min(), detections.scores.max()
    if lowest < 0 or highest > 1:
        flags = " and ".join("--" + name.replace("_", "-") for name in thresholds)
        raise ValueError(
            f"{detections.path}: expected scores in [0, 1], for which the default thresholds are made, got scores in "
            f"[{lowest:g}, {highest:g}]; set thresholds for these scores with {flags}"
        )
