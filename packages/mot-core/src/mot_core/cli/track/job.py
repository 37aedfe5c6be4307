"""One sequence that `mot track` processes: its frames, its parameters and its result file."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mot_core.io import Sequence as VideoSequence
from mot_core.structures import Tracks


@dataclass
class Job(ABC):
    """One sequence to track, and what came out."""

    sequence: VideoSequence
    seconds: float = field(default=0.0, init=False)
    rows: int = field(default=0, init=False)
    identities: set[int] = field(default_factory=set, init=False)

    images: Callable[[int], Any] | None = field(default=None, init=False)
    """Reads the frames for pictures, where they are no files of the sequence."""
    with_classes: bool = field(default=False, init=False)
    """Write the class into the result."""

    @abstractmethod
    def steps(self) -> Iterator[tuple[int, Callable[[], Tracks]]]:
        """The number of every frame, and what tracks it. The second is timed."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """All parameters of the tracker, for the record."""

    @abstractmethod
    def inputs(self) -> list[Path]:
        """Files that are read, which must not be overwritten."""

    def details(self) -> dict[str, Any]:
        """What the record tells of this sequence beside its frames."""
        return {}

    def cells(self) -> dict[str, str]:
        """Columns of the table beside those of all jobs."""
        return {}


def result_path(job: Job, output: Path) -> Path:
    """The file for the tracks of a job.

    Raises:
        ValueError: it would overwrite an input.
    """
    result = output / f"{job.sequence.name}.txt"
    if result.resolve() in {path.resolve() for path in job.inputs()}:
        raise ValueError(f"--output: {result} is an input of this sequence; choose another folder")
    return result


def window(sequence: VideoSequence, arguments: argparse.Namespace) -> VideoSequence:
    """The part of a sequence that ``--frames`` and ``--split`` choose."""
    if arguments.frames:
        return sequence.window(*arguments.frames)
    return sequence.half_val() if arguments.split == "half-val" else sequence
