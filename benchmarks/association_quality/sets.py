"""Data sets of the comparison: every folder of the data pack with ground truth and detections, at three frame rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from em_kalman import DetectionSequence
from mot_core.evaluation import Scores, score_sequence
from mot_core.io import BoxTable, Sequence, find_sequences
from mot_core.structures import Tracks

METRICS = ("HOTA", "AssA", "IDF1", "MOTA", "IDSW", "Frag")
RATES = {1: "every frame", 3: "one in 3", 5: "one in 5"}


@dataclass(frozen=True)
class DataSet:
    """A folder of sequences with the detections of one detector.

    Attributes:
        folder: Folder in the data pack.
        detections: Names of the detection files; of several, the first that a sequence has. None for the only one.
        half: Use only the second half of every sequence: the detector was trained on the first halves of MOT17, and
            DanceTrack is long.
        sequences: Pattern of the sequence names.
    """

    folder: str
    detections: str | None
    half: bool = False
    sequences: str = "*"


SETS = {
    "MOT15": DataSet("MOT15/train", "sort,det"),
    "MOT17 public": DataSet("MOT17/train", "det", sequences="*-FRCNN"),
    "MOT17 YOLOX": DataSet("MOT17/train", "yolox", half=True, sequences="*-FRCNN"),
    "MOT20": DataSet("MOT20/train", "yolox,det"),
    "DanceTrack": DataSet("DanceTrack/val", "yolox", half=True),
    "KITTI": DataSet("KITTI/training", None),
}


@dataclass(frozen=True, eq=False)
class Video:
    """A sequence at one frame rate, with frames renumbered from 1.

    Attributes:
        sequence: The sequence, with its rules.
        detections: Detections of the used frames.
        ground_truth: Ground truth of the used frames.
        length: Number of used frames.
    """

    sequence: Sequence
    detections: BoxTable
    ground_truth: BoxTable
    length: int

    @property
    def classes(self) -> list[int]:
        """Classes of the detections, [-1] without."""
        return sorted(set(self.detections.classes.tolist())) or [-1]

    def unlabelled(self) -> DetectionSequence:
        """Return the detections to train on."""
        boxes = self.detections.boxes_xyxy
        extent = (float(boxes[:, 3].max()), float(boxes[:, 2].max())) if len(boxes) else (1.0, 1.0)
        height, width = self.sequence.image_size or (round(extent[0]), round(extent[1]))
        return DetectionSequence(self.sequence.name, self.detections, range(1, self.length + 1), (height, width))

    def frames(self, min_score: float = float("-inf")) -> Iterator[BoxTable]:
        """Yield the detections of every frame."""
        table = self.detections.select(self.detections.scores >= min_score)
        for number in range(1, self.length + 1):
            rows = table.frame(number)
            yield BoxTable(
                table.frames[rows], table.ids[rows], table.boxes_xyxy[rows], table.scores[rows], table.classes[rows]
            )

    def score(self, frames: list[Tracks]) -> list[Scores]:
        """Return the scores of tracks, a list of one entry per frame; by class if the benchmark has classes."""
        numbers = np.repeat(np.arange(1, len(frames) + 1), [len(one) for one in frames])
        parts = [
            np.concatenate([np.asarray(getattr(one, name)) for one in frames])
            for name in ("ids", "boxes_xyxy", "scores", "classes")
        ]
        found = score_sequence(
            self.ground_truth,
            BoxTable(numbers, *parts),
            self.sequence.rules,
            range(1, self.length + 1),
            name=self.sequence.name,
        )
        return list(found.values())


def found_in(data: Path) -> list[str]:
    """Return the names of the data sets that a data pack has."""
    return [name for name in SETS if videos(data, name, 1)]


@cache
def videos(data: Path, name: str, step: int) -> tuple[Video, ...]:
    """Return the sequences of a data set that have ground truth and detections; every ``step``-th frame of them."""
    one = SETS[name]
    if not (data / one.folder).is_dir():
        return ()
    found = []
    for whole in find_sequences(data / one.folder):
        if not whole.path.match(one.sequences) or not whole.has_ground_truth:
            continue
        try:
            detections = whole.detections(one.detections)
        except FileNotFoundError:
            continue
        if not ((detections.scores >= 0) & (detections.scores <= 1)).all():
            print(f"{whole.name} is left out: default parameters are for scores in [0, 1]")
            continue
        sequence = whole.half_val() if one.half else whole
        numbers = np.array(sequence.frame_numbers())[::step]
        tables = [_renumbered(table, numbers) for table in (detections, sequence.ground_truth())]
        found.append(Video(sequence, tables[0], tables[1], len(numbers)))
    return tuple(found)


def score(track: Callable[[Video], list[Tracks]], data: Path, name: str, step: int) -> dict[str, float]:
    """Return the metrics of a tracker over all sequences of a data set."""
    scores = [part for video in videos(data, name, step) for part in video.score(track(video))]
    combined = Scores.combine(scores)
    return {metric: round(float(combined[metric]), 2) for metric in METRICS}  # type: ignore[arg-type]


def _renumbered(table: BoxTable, numbers: np.ndarray) -> BoxTable:
    kept = table.select(np.isin(table.frames, numbers))
    frames = np.searchsorted(numbers, kept.frames) + 1
    return BoxTable(frames, kept.ids, kept.boxes_xyxy, kept.scores, kept.classes, kept.visibility)
