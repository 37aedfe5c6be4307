"""``mot track`` with a trained tracker, on images of sequences, plain folders and videos."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mot_core.cli.terminal import print_note
from mot_core.cli.track.flags import Parameter, add_flags, given_flags, parameters_of, read_settings
from mot_core.cli.track.job import Job, result_path, window
from mot_core.cli.track.jobs import run_jobs
from mot_core.cli.track.pictures import check_extras
from mot_core.data import Augmentation
from mot_core.data.stream import frame_batch
from mot_core.streams import FrameStream, open_streams
from mot_core.streams.video_file import TruncatedVideoError
from mot_core.structures import ClipBatch, Tracks
from mot_core.trackers import Tracker


@dataclass
class ImageJob(Job):
    """One sequence of images to track."""

    stream: FrameStream
    tracker: Tracker
    resize: Augmentation

    def __post_init__(self) -> None:
        self.images = self.stream.image
        self.truncated = self.stream.truncated
        self.with_classes = self.tracker.spec.num_classes > 1

    def steps(self) -> Iterator[tuple[int, Callable[[], Tracks]]]:
        """Yield every frame that exists; if a video ends early, the sequence ends with it."""
        numbers = self.sequence.present_numbers()
        with ThreadPoolExecutor(1) as reader:  # reads the next frame while this one is tracked
            pending = reader.submit(frame_batch, self.stream, numbers[0], self.resize)
            for position, number in enumerate(numbers):
                try:
                    batch = pending.result()
                except EOFError as error:
                    if position == 0:
                        raise ValueError(str(error)) from error
                    if isinstance(error, TruncatedVideoError):
                        self.truncated = str(error)
                    else:
                        print_note(str(error))
                    self.sequence = self.sequence.window(numbers[0], numbers[position - 1])
                    return
                if position + 1 < len(numbers):
                    pending = reader.submit(frame_batch, self.stream, numbers[position + 1], self.resize)
                yield number, partial(self._track, batch)

    def _track(self, batch: Any) -> Tracks:
        tracks = self.tracker.track(batch.to(self.tracker.device)).numpy()
        numbers = [label if one.number is None else one.number for label, one in enumerate(self.sequence.rules.classes)]
        if len(tracks) and tracks.classes.max() < len(numbers):  # training labels index the scored classes
            return replace(tracks, classes=np.array(numbers)[tracks.classes])
        return tracks

    def parameters(self) -> dict[str, Any]:
        """Return all arguments of the tracker, including defaults."""
        signature = inspect.signature(type(self.tracker)).parameters.values()
        defaults = {one.name: one.default for one in signature if one.default is not one.empty}
        return {**defaults, **self.tracker.arguments}

    def inputs(self) -> list[Path]:
        """Return the file of the ground truth."""
        return [self.sequence.ground_truth_path]

    def details(self) -> dict[str, Any]:
        """Return the sentence about frames lost at the end of a video."""
        return {"truncated": self.truncated} if self.truncated else {}


def configure_images(parser: argparse.ArgumentParser, name: str, tracker: Any) -> None:
    """Declare the arguments specific to trackers that take images."""
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=Path,
        required=True,
        help="checkpoint of a trained tracker, written by mot fit or mot import",
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="device to run on (default: cuda if available, else cpu)",
    )
    parser.add_argument(
        "--resize",
        metavar=("SHORT", "LONG"),
        nargs=2,
        type=int,
        help="resize frames to a shorter side of SHORT and a longer side of at most LONG pixels (default: as in "
        "validation during training)",
    )
    parser.add_argument(
        "--allow-truncated",
        action="store_true",
        help="accept a video that is cut off or damaged (default: its tracks are written, but the exit code is 1)",
    )
    # The checkpoint overrides the defaults of the signature.
    parameters = {
        key: replace(parameter, default=inspect.Parameter.empty)
        for key, parameter in parameters_of(tracker).items()
        if key in getattr(tracker, "tracking_parameters", ())
    }
    parser.add_argument(
        "--plugins",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="use the plug-ins in the checkpoint that take part in tracking (default: yes)",
    )
    add_flags(parser, f"parameters of {name} (default: those of the checkpoint)", parameters)
    parser.set_defaults(run=lambda namespace: run(namespace, tracker, parameters))


def run(arguments: argparse.Namespace, tracker: type[Tracker], parameters: dict[str, Parameter]) -> int:
    """Load the tracker, find all sequences, track them and print a summary."""
    check_extras(plot=arguments.plot, video=arguments.video)
    settings = read_settings(arguments.config, parameters) if arguments.config else {}
    settings.update(given_flags(arguments, parameters))
    device = choose_device(arguments.device)
    streams = open_streams(arguments.source, arguments.benchmark, partial(window, arguments=arguments))
    loaded = tracker.from_checkpoint(arguments.checkpoint, recorded_plugins=arguments.plugins, **settings).to(device)
    resize = choose_resize(arguments.resize, loaded.resize, arguments.checkpoint)
    for stream in streams:
        if stream.sequence.image_size is not None:
            resize.views(stream.sequence.image_size, 1, np.random.default_rng(0))  # rejects sizes beyond memory
    jobs = [ImageJob(stream.sequence, stream, loaded, resize) for stream in streams]
    for job in jobs:
        result_path(job, arguments.output)
    if arguments.resize is None and loaded.resize is None:
        print_note("the checkpoint does not state how frames were resized; they keep their size")
    source: dict[str, Any] = {"checkpoint": str(arguments.checkpoint), "device": str(device), "resize": resize}
    source["plugins"] = list(loaded.plugins)
    for stream in streams:
        print_note(stream.note)
    run_jobs(arguments, jobs, settings, source)
    return _report_truncation(jobs, arguments.allow_truncated)


def _report_truncation(jobs: list[ImageJob], allowed: bool) -> int:
    """Print a sentence for each video that lost frames, and return the exit code."""
    sentences = [job.truncated for job in jobs if job.truncated]
    for sentence in sentences:
        if allowed:
            print_note(sentence)
        else:
            remedy = "their tracks are written; copy the file again, or accept it with --allow-truncated"
            print(f"mot: error: {sentence}; {remedy}", file=sys.stderr)
    return int(bool(sentences) and not allowed)


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``"auto"`` is the GPU if one is available.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device: expected an available device, got cuda without a GPU; use cpu, or install PyTorch for CUDA"
        )
    return torch.device(name)


def open_video(source: Path, checkpoint: Path, frames: int) -> tuple[Tracker, Iterator[ClipBatch]]:
    """Load a trained tracker, and read the start of one sequence or video at the size of its validation.

    Args:
        source: A sequence, a folder of images or a video.
        checkpoint: Checkpoint of the tracker.
        frames: Number of frames that are read at most.

    Raises:
        ValueError: If ``source`` has several sequences, or the record of the size in the checkpoint is invalid.
    """
    streams = open_streams(source)
    if len(streams) != 1:
        raise ValueError(f"SOURCE: expected one sequence or video, got {len(streams)} in {source}; give one of them")
    tracker = Tracker.from_checkpoint(checkpoint)
    resize = choose_resize(None, tracker.resize, checkpoint)
    numbers = streams[0].sequence.present_numbers()[:frames]
    return tracker, (frame_batch(streams[0], number, resize) for number in numbers)


def choose_resize(given: list[int] | None, trained: dict[str, Any] | None, checkpoint: Path) -> Augmentation:
    """Return the resizing of frames: as given, else as recorded by training, else none.

    Raises:
        ValueError: If the record in the checkpoint is invalid.

    >>> choose_resize([480, 900], None, Path("motip.ckpt")).views((1080, 1920), 1, np.random.default_rng(0))[0].size
    (480, 853)
    """
    if given is not None:
        return Augmentation(short_sides=(given[0],), max_long_side=given[1])
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in (trained or {}).items()
    }
    try:
        return Augmentation(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{checkpoint}: its record of resize is invalid ({error}); pass --resize") from error
