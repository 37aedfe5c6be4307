"""One sequence processed by `mot track`: frames, parameters and result file."""

from __future__ import annotations

import argparse
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_core.io import Sequence as VideoSequence
from mot_core.structures import Tracks

if TYPE_CHECKING:
    from mot_core.association import LinkGain


@dataclass
class Job(ABC):
    """One sequence to track, with counts of the result."""

    sequence: VideoSequence
    seconds: float = field(default=0.0, init=False)
    rows: int = field(default=0, init=False)
    identities: set[int] = field(default_factory=set, init=False)
    count: int = field(default=0, init=False)
    """Number of frames that were tracked."""
    by_class: dict[int, set[int]] = field(default_factory=dict, init=False)
    """Identities of each class, if the detections have classes."""
    keeps_partial: bool = field(default=False, init=False)
    """Whether an interruption keeps the tracks of the frames before it."""

    images: Callable[[int], Any] | None = field(default=None, init=False)
    """Reader of frames for pictures, if the frames are not image files of the sequence."""
    with_classes: bool = field(default=False, init=False)
    """Whether the class is written into the result file."""

    @property
    def steps_total(self) -> int:
        """Number of frames to track, 0 if unknown."""
        return len(self.sequence.present_numbers())

    @abstractmethod
    def steps(self) -> Iterator[tuple[int, Callable[[], Tracks]]]:
        """Yield the number of every frame and a function that tracks it, which is timed."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Return all parameters of the tracker, for the run record."""

    @abstractmethod
    def inputs(self) -> list[Path]:
        """Return the input files, which must not be overwritten."""

    def link_gain(self) -> LinkGain | None:
        """Return the log-odds with which ``--link`` joins tracks, or None if the tracker has no own ones."""
        make = getattr(getattr(self, "tracker", None), "link_gain", None)
        return make() if make else None

    def details(self) -> dict[str, Any]:
        """Return additional entries of this sequence for the run record."""
        return {}

    def cells(self) -> dict[str, str]:
        """Return additional columns of the summary table."""
        return {}

    def summary(self) -> dict[str, Any]:
        """Return counts and times of the result, for JSON; ``tracks_per_class`` by name or number if known."""
        names: Any = self.class_names()
        counts = sorted(self.by_class.items(), key=lambda one: (-len(one[1]), one[0]))
        return {
            "sequence": self.sequence.name,
            "frames": self.count,
            "tracks": len(self.identities),
            "rows": self.rows,
            "tracks_per_class": {str(names.get(label, label)): len(ids) for label, ids in counts},
            "tracker_ms": 1000 * self.seconds / max(self.count, 1),
        }

    def class_names(self) -> Mapping[int, str]:
        """Return the names of classes by number, if known."""
        return {}


def result_path(job: Job, output: Path) -> Path:
    """Return the result file of a job.

    Raises:
        ValueError: If it would overwrite an input.
    """
    result = output / f"{job.sequence.name}.txt"
    if os.path.realpath(result) in map(os.path.realpath, job.inputs()):  # Path.resolve fails for links in a loop
        raise ValueError(
            f"--output: expected a folder without input files, got {result}, an input of this sequence; choose another"
        )
    return result


def window(sequence: VideoSequence, arguments: argparse.Namespace) -> VideoSequence:
    """Return the part of a sequence selected by ``--frames`` or ``--split``."""
    if arguments.frames:
        return sequence.window(*arguments.frames)
    return sequence.half_val() if arguments.split == "half-val" else sequence
