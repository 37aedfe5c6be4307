"""The sequences of the em-kalman benchmark, at full and reduced frame rates, and the baseline trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from em_kalman import DetectionSequence
from mot_core.association import ByteTrack, OCSort, OnlineTracker, Sort
from mot_core.association.base import TrackTable
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import P
from mot_core.evaluation import Scores, score_sequence
from mot_core.io import BoxTable, Sequence, find_sequences

METRICS = ("HOTA", "AssA", "IDF1", "MOTA", "IDSW")
RATES = ("every frame", "one in 3", "one in 5", "one in 3, with times", "one in 5, with times")
MAX_AGE = 30  # frames at the full rate, the default of all trackers
SURE = 0.6  # minimum score of YOLOX detections, the default of all three baselines
# MOT15 videos that are also in MOT17, on which models are trained.
SAME_VIDEO = ("Venice-2", "ETH-Pedcross2", "ADL-Rundle-8")


@dataclass(frozen=True)
class Source:
    """A data set with the detections of one detector.

    Attributes:
        folder: Folder in the data pack.
        detections: Names of the detection files.
        half: Use only the second half of every sequence.
        sure: Minimum score of a detection. None if scores are not probabilities; then all detections count.
        benchmark: Name of the rules; "auto" infers it from the sequence names.
    """

    folder: str
    detections: str
    half: bool = False
    sure: float | None = None
    benchmark: str = "auto"

    def sequences(self, data: Path) -> list[Sequence]:
        """Return all sequences except the videos that are in two data sets."""
        found = find_sequences(data / self.folder, benchmark=self.benchmark)
        found = [one for one in found if one.name not in SAME_VIDEO]
        return [one.half_val() for one in found] if self.half else found

    def unlabelled(self, data: Path) -> list[DetectionSequence]:
        """Return the training data: boxes without identities."""
        lowest = float("-inf") if self.sure is None else self.sure
        found = []
        for one in self.sequences(data):
            table = one.detections(self.detections)
            assert one.image_size is not None
            table = table.select(table.scores >= lowest)
            found.append(DetectionSequence(one.name, table, one.frame_numbers(), one.image_size))
        return found


SOURCES = {
    "MOT17 public": Source("MOT17/train", "det"),
    "MOT15": Source("MOT15/train", "sort,det"),
    # The detector was trained on the first halves of MOT17.
    "MOT17 YOLOX": Source("MOT17/train", "yolox", half=True, sure=SURE),
    "DanceTrack YOLOX": Source("DanceTrack/val", "yolox", half=True, sure=SURE),
}
PARTNER = {
    "MOT17 public": "MOT15",
    "MOT15": "MOT17 public",
    "MOT17 YOLOX": "DanceTrack YOLOX",
    "DanceTrack YOLOX": "MOT17 YOLOX",
}


class PlainIoU(Sort):
    """Association by the IoU with the last box of a track, without a motion model."""

    def _move(self, block: Floats, dt: float | Floats) -> None:
        pass

    def _observe(
        self, table: TrackTable, columns: Integers, frame: FrameDetections, rows: Integers, index: Integers
    ) -> None:
        super()._observe(table, columns, frame, rows, index)
        table.values[P, columns] = self.layout.measure(frame.boxes.take(rows, 1))


def baselines(source: Source, **more: Any) -> dict[str, Callable[[int], OnlineTracker]]:
    """Return constructors of trackers for a ``max_age``, by name.

    A track is reported from its second detection on, as in ByteTrack. Thresholds are the defaults; if scores are not
    probabilities, they are ignored. ``more`` are arguments for all trackers.
    """
    lowest = float("-inf") if source.sure is None else source.sure
    weak = more
    if source.sure is None:
        weak = more | dict.fromkeys(("track_threshold", "low_threshold", "birth_threshold"), lowest)
        weak["fuse_score"] = False
    common: dict[str, Any] = {"score_threshold": lowest, "min_hits": 1, **more}
    return {
        "IoU": lambda age: PlainIoU(max_age=age, **common),
        "SORT": lambda age: Sort(max_age=age, **common),
        "ByteTrack": lambda age: ByteTrack(max_age=age, **weak),
        "OC-SORT": lambda age: OCSort(max_age=age, **common),
    }


def score(
    make: Callable[[int], OnlineTracker], source: Source, data: Path, rates: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Return the metrics over all sequences, by frame rate.

    With times, trackers receive the time of each frame, and ``max_age`` is 30 frames of the full rate. Without times,
    they count frames, and ``max_age`` is reduced to the same duration.
    """
    parts: dict[str, list[Scores]] = {rate: [] for rate in rates}
    for sequence in source.sequences(data):
        detections, truth = sequence.detections(source.detections), sequence.ground_truth()
        for rate, scores in parts.items():
            step, timed = step_of(rate), "times" in rate
            numbers = list(sequence.frame_numbers())[::step]
            tracks = _track(make(MAX_AGE if timed else MAX_AGE // step), detections, numbers, timed)
            found = score_sequence(
                _renumbered(truth, numbers), tracks, sequence.rules, range(1, len(numbers) + 1), name=sequence.name
            )
            scores.extend(found.values())
    return {rate: _rounded(Scores.combine(scores)) for rate, scores in parts.items()}


def step_of(rate: str) -> int:
    """Return the step between used frames."""
    return int(rate.split("one in ")[1].split(",")[0]) if "one in" in rate else 1


def _track(tracker: OnlineTracker, detections: BoxTable, numbers: list[int], timed: bool) -> BoxTable:
    found = []
    for number in numbers:
        at = detections.frame(number)
        time = number / tracker.frame_rate if timed else None
        found.append(tracker.update(detections.boxes_xyxy[at], detections.scores[at], timestamp=time))
    frames = np.repeat(np.arange(len(found)) + 1, [len(one.ids) for one in found])
    ids, boxes = (np.concatenate([np.asarray(getattr(one, name)) for one in found]) for name in ("ids", "boxes_xyxy"))
    return BoxTable(frames, ids, boxes)


def _renumbered(table: BoxTable, numbers: list[int]) -> BoxTable:
    kept = table.select(np.isin(table.frames, numbers))
    frames = np.searchsorted(numbers, kept.frames) + 1
    return BoxTable(frames, kept.ids, kept.boxes_xyxy, kept.scores, kept.classes, kept.visibility)


def _rounded(scores: Scores) -> dict[str, float]:
    return {metric: round(float(scores[metric]), 2) for metric in METRICS}  # type: ignore[arg-type]
