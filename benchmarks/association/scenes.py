"""Detections at four densities, with ground truth for scoring."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from benchmarks.association.streams import Stream
from mot_core.io import BoxTable, Sequence, find_sequences, make_scene

FrameTruth: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]

# Number of people that gives this number of detections per frame, with occlusions, misses and clutter.
OBJECTS = {"6": 7, "22": 28, "47": 58, "140": 183}
HEIGHTS = {"6": 3.5, "22": 3.5, "47": 5.0, "140": 7.0}  # camera height in meters; crowds are seen from higher up
DETECTOR = {"miss_rate": 0.1, "clutter": 0.03}
MEMORY_DENSITY = "47"


@dataclass(frozen=True, eq=False)
class Scene:
    """A stream and its ground truth.

    Attributes:
        name: Approximate number of detections per frame.
        description: Origin of the detections.
        stream: Detections.
        ground_truth: Identities and boxes that a tracker should report, per sequence and frame.
    """

    name: str
    description: str
    stream: Stream
    ground_truth: list[list[FrameTruth]]

    def about(self) -> dict[str, Any]:
        """Return the description of the scene for reports."""
        return {
            "description": self.description,
            "frames": len(self.stream.counts),
            "density": round(self.stream.density, 2),
        }


def make_scenes(frames: int, whole: bool) -> list[Scene]:
    """Return all scenes, the sparsest first.

    Args:
        frames: Length of the synthetic scenes.
        whole: Use all frames of the real scene instead of the first ``frames`` of each sequence.
    """
    data = os.environ.get("MOT_DATA")
    sparse = _mot15(Path(data) / "MOT15" / "train", None if whole else frames) if data else _synthetic("6", frames)
    return [sparse, *(_synthetic(name, frames) for name in OBJECTS if name != "6")]


def memory_scene(frames: int) -> Scene:
    """Return the long scene of the memory test."""
    return _synthetic(MEMORY_DENSITY, frames)


def _mot15(folder: Path, frames: int | None) -> Scene:
    sequences = find_sequences(folder, benchmark="MOT15")
    parts = [_read(sequence, frames) for sequence in sequences]
    return Scene(
        "6",
        f"the Faster R-CNN detections published with SORT, {len(parts)} sequences of MOT15 train",
        Stream.of([detections for detections, _ in parts]),
        [truth for _, truth in parts],
    )


def _read(sequence: Sequence, frames: int | None) -> tuple[list[Any], list[FrameTruth]]:
    numbers = sequence.frame_numbers()[:frames]
    truth = sequence.ground_truth()
    return _detections(sequence.detections("sort,det"), numbers), _truth(truth.select(truth.scores != 0), numbers)


def _synthetic(name: str, frames: int) -> Scene:
    made = make_scene(num_objects=OBJECTS[name], num_frames=frames, camera_height=HEIGHTS[name], **DETECTOR)
    numbers = range(1, frames + 1)
    return Scene(
        name,
        f"synthetic: `mot_core.io.make_scene`, {OBJECTS[name]} people, 10 % misses, 3 % clutter",
        Stream.of([_detections(made.detections, numbers)]),
        [_truth(made.ground_truth, numbers)],
    )


def _detections(table: BoxTable, numbers: range) -> list[Any]:
    return [(table.boxes_xyxy[rows], table.scores[rows]) for rows in _rows(table, numbers)]


def _truth(table: BoxTable, numbers: range) -> list[FrameTruth]:
    return [(table.ids[rows], table.boxes_xyxy[rows]) for rows in _rows(table, numbers)]


def _rows(table: BoxTable, numbers: range) -> Iterator[slice]:
    return (table.frame(number) for number in numbers)
