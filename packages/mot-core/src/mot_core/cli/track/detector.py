"""``mot track`` with a detector in front of a tracker of detections, on videos, images, cameras and streams."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mot_core.association.registry import build_tracker
from mot_core.cli.terminal import print_note
from mot_core.cli.track.detection_cache import CachedDetections, fingerprint
from mot_core.cli.track.flags import Parameter, given_flags, read_settings
from mot_core.cli.track.job import Job, result_path, window
from mot_core.cli.track.jobs import run_jobs
from mot_core.cli.track.pictures import check_extras
from mot_core.detectors import Detector, class_numbers, detect, load_detector
from mot_core.io import KITTI_CLASSES, Sequence
from mot_core.io.benchmarks import DONT_CARE
from mot_core.streams import FrameStream, LiveStream, ReadAhead, is_live, open_streams, select_frames
from mot_core.structures import Detections, Tracks


@dataclass
class DetectorJob(Job):
    """One video, folder of images, sequence, camera or stream to detect and track in."""

    stream: FrameStream | LiveStream
    detector: Detector
    tracker: Any
    settings: dict[str, Any]
    classes: set[int] | None
    every: int
    max_frames: int | None
    cache: CachedDetections | None
    kitti_types: Mapping[int, int] | None = None
    """Types of KITTI by class number, for results in its layout."""
    detector_seconds: float = field(default=0.0, init=False)
    truncated: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.keeps_partial = True
        self.with_classes = True
        self._shift = 1 - self.sequence.rules.first_frame  # files of detections count from 1, KITTI from 0
        if isinstance(self.stream, FrameStream):
            self.images = self.stream.image
            self.truncated = self.stream.truncated

    @property
    def steps_total(self) -> int:
        """Number of frames to process, 0 if unknown."""
        if isinstance(self.stream, LiveStream):
            return self.max_frames or 0
        return sum(1 for _ in select_frames(self.stream.sequence.present_numbers(), self.every, self.max_frames))

    def steps(self) -> Iterator[tuple[int, Callable[[], Tracks]]]:
        """Yield the number of every frame that is used; detection takes place between them."""
        rate = getattr(self.tracker, "frame_rate", 30.0)
        is_cached = self.cache is not None and self.cache.is_complete
        for number, seconds, found in self._read_cache() if is_cached else self._detect():
            if isinstance(self.stream, LiveStream):
                self.sequence = Sequence(self.stream.name, Path(), "generic", length=number)
                stamp = seconds
            else:  # in frames of the source, as for detections from a file
                stamp = number / rate if self.every > 1 else None
            labels = found.classes
            if self.kitti_types is not None and labels is not None:
                labels = np.array([self.kitti_types[label] for label in labels.tolist()], np.int64)
            yield number, partial(self.tracker.update, found.boxes_xyxy, found.scores, labels, stamp)

    def _detect(self) -> Iterator[tuple[int, float | None, Detections]]:
        frames = select_frames(self.stream.frames(), self.every, self.max_frames)
        with ExitStack() as stack:
            cached = None if self.cache is None else stack.enter_context(self.cache.writer())
            try:
                for frame in ReadAhead(frames, drop_oldest=self.cache is None):
                    start = time.perf_counter()
                    try:
                        found = detect(self.detector, frame.image, self.classes)
                    except ValueError as error:
                        raise ValueError(f"{self.sequence.name}, frame {frame.number}: {error}") from error
                    self.detector_seconds += time.perf_counter() - start
                    found = found if cached is None else cached.write(frame.number + self._shift, found)
                    yield frame.number, frame.seconds, found
            except EOFError as error:
                self.truncated = str(error)

    def _read_cache(self) -> Iterator[tuple[int, float | None, Detections]]:
        assert self.cache is not None, "checked by steps"
        for number in select_frames(self.sequence.present_numbers(), self.every, self.max_frames):
            yield number, None, self.cache.read(number + self._shift)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the tracker, or the given ones if it has no method ``parameters``."""
        parameters = getattr(self.tracker, "parameters", None)
        return dict(parameters()) if parameters else self.settings

    def inputs(self) -> list[Path]:
        """Return the file of the ground truth of a sequence."""
        return [] if isinstance(self.stream, LiveStream) else [self.sequence.ground_truth_path]

    def details(self) -> dict[str, Any]:
        """Return the path of the detections, and the sentence about frames lost at the end of a video."""
        kept = {} if self.cache is None else {"detections": str(self.cache.path)}
        return {**kept, **({"truncated": self.truncated} if self.truncated else {})}

    def cells(self) -> dict[str, str]:
        """Return counts per class, and the time per frame of the detector."""
        found = self.summary()
        text = ", ".join(f"{name} {count}" for name, count in found["tracks_per_class"].items())
        detector = "cached" if found["detector_ms"] is None else f"{found['detector_ms']:.1f}"
        return {"tracks per class": text or "-", "detector ms": detector, "tracker ms": f"{found['tracker_ms']:.2f}"}

    def summary(self) -> dict[str, Any]:
        """Return counts and times; the time of the detector is None if its detections were kept from an earlier run."""
        time_per_frame = 1000 * self.detector_seconds / max(self.count, 1)
        return {**super().summary(), "detector_ms": time_per_frame if self.detector_seconds else None}

    def class_names(self) -> Mapping[int, str]:
        """Return the names of classes by number, if the detector has any."""
        if self.kitti_types is not None:
            return dict(enumerate(KITTI_CLASSES))
        names: Mapping[int, str] | None = getattr(self.detector, "class_names", None)
        return names or {}


def configure_detector(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments specific to tracking with a detector."""
    from mot_core.detectors.layouts import LAYOUTS

    parser.add_argument(
        "--classes",
        metavar="NAME[,NAME]",
        type=lambda text: text.split(","),
        help="classes to track, by name or number (default: all)",
    )
    parser.add_argument("--every", metavar="N", type=int, default=1, help="use every N-th frame only (default: 1)")
    parser.add_argument("--max-frames", metavar="N", type=int, help="number of frames to use at most (default: all)")
    parser.add_argument(
        "--layout",
        choices=[*LAYOUTS],
        help="outputs of an ONNX model (default: recognized by their names and shapes)",
    )


def run_with_detector(
    arguments: argparse.Namespace, tracker: Callable[..., Any] | None, parameters: dict[str, Parameter]
) -> int:
    """Open source and detector, detect and track, and print a summary."""
    assert tracker is not None, "--tracker has a default with --detector"
    check_extras(plot=arguments.plot, video=arguments.video)
    settings = read_settings(arguments.config, parameters) if arguments.config else {}
    settings.update(given_flags(arguments, parameters))
    options = {} if arguments.layout is None else {"layout": arguments.layout}
    streams = _open(arguments)
    detector = load_detector(arguments.detector, **options)
    chosen = class_numbers(detector, arguments.classes)
    jobs = []
    for stream in streams:
        live = isinstance(stream, LiveStream)
        sequence = (
            Sequence(stream.name, Path(), "generic", length=1) if isinstance(stream, LiveStream) else stream.sequence
        )
        types = kitti_types(detector, chosen) if sequence.rules.layout == "kitti" else None
        kept = chosen if types is None else {*types}
        where = sequence.benchmark, sequence.name, sequence.frame_rate
        built = build_tracker(tracker, arguments.preset, settings, *where)
        cache = None if live else _cache(arguments, sequence, kept)
        job = DetectorJob(
            sequence, stream, detector, built, settings, kept, arguments.every, arguments.max_frames, cache, types
        )
        result_path(job, arguments.output)
        list(select_frames((), arguments.every, arguments.max_frames))  # rejects numbers below 1
        jobs.append(job)
        if not isinstance(stream, LiveStream):
            print_note(stream.note)
    source = {"preset": arguments.preset or "default", "detector": arguments.detector, "classes": arguments.classes}
    run_jobs(arguments, jobs, settings, {**source, "every": arguments.every, "max_frames": arguments.max_frames})
    cut = [job.truncated for job in jobs if job.truncated]
    for sentence in cut:
        print(f"mot: error: {sentence}; the tracks before are written; copy the file again", file=sys.stderr)
    return int(bool(cut))


def kitti_types(detector: Detector, chosen: Collection[int] | None = None) -> dict[int, int]:
    """Return the types of KITTI by class number, as positions in ``KITTI_CLASSES``; other classes are not tracked.

    Classes match by name; person is Pedestrian, and train is Tram.

    Args:
        detector: Detector with ``class_names``.
        chosen: Class numbers to use. None uses all.

    Raises:
        ValueError: If no class has a type of KITTI.

    >>> class Named:
    ...     class_names = {0: "person", 1: "bicycle", 2: "car"}
    ...     def __call__(self, images): ...
    >>> kitti_types(Named())
    {0: 3, 2: 0}
    """
    names: Mapping[int, str] = getattr(detector, "class_names", None) or {}
    numbers = {name.lower(): number for number, name in enumerate(KITTI_CLASSES[:DONT_CARE])}
    numbers |= {"person": numbers["pedestrian"], "train": numbers["tram"]}
    found = {
        int(label): numbers[name.lower()]
        for label, name in names.items()
        if name.lower() in numbers and (chosen is None or label in chosen)
    }
    if not found:
        raise ValueError(
            f"detector: expected class_names with types of KITTI ({', '.join(KITTI_CLASSES[:DONT_CARE])}), "
            f"got {', '.join(names.values()) or 'no names'}; rename the classes, or track the folder of images"
        )
    return found


def _open(arguments: argparse.Namespace) -> list[FrameStream] | list[LiveStream]:
    if is_live(arguments.source):
        for flag in ("plot", "video", "frames", "split"):
            if getattr(arguments, flag):
                raise ValueError(
                    f"--{flag}: expected a source that can be read again, got {arguments.source}; record it to a file, "
                    "or leave the flag out"
                )
        return [LiveStream(arguments.source, print_note)]
    return open_streams(arguments.source, arguments.benchmark, partial(window, arguments=arguments))


def _cache(arguments: argparse.Namespace, sequence: Sequence, classes: set[int] | None) -> CachedDetections:
    kind, _, argument = arguments.detector.partition(":")
    module = getattr(sys.modules.get(kind), "__file__", None)  # of module:callable
    numbers = sequence.frame_numbers()
    origin = {
        "detector": arguments.detector,
        "detector file": fingerprint(Path(module or argument)),
        "layout": arguments.layout,
        "source": str(Path(arguments.source).resolve()),
        "source file": fingerprint(sequence.image_dir or sequence.path),
        "frames": f"{numbers[0]}-{numbers[-1]}",
        "classes": None if classes is None else sorted(classes),
        "every": arguments.every,
        "max_frames": arguments.max_frames,
    }
    return CachedDetections(arguments.output / "det" / f"{sequence.name}.txt", origin)
