"""Tracking of whole videos by ByteTrack with a learned cost, and evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import numpy as np

from mot_core.association import ByteTrack
from mot_core.evaluation import Scores, score_sequence
from mot_core.io import BoxTable
from unitrack_association.model import AssociationTransformer, LearnedCost
from unitrack_association.videos import Video

METRICS = ("HOTA", "AssA", "IDF1", "MOTA", "IDSW")
Table = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Use:
    """Settings for using a network as a cost.

    Args:
        form: Conversion of logits to probabilities, a key of ``model.FORMS``.
        max_cost: Maximum cost of the first stage of ByteTrack.
        max_cost_low: Maximum cost of the stage with weak detections.
        max_cost_unconfirmed: Maximum cost of unconfirmed tracks.
    """

    form: str
    max_cost: float
    max_cost_low: float
    max_cost_unconfirmed: float


# Losses differ in the calibration of their networks, and the thresholds of ByteTrack are made for IoU. Each network
# therefore uses its best setting; with one for all, calibration would dominate the comparison.
USES = [Use(form, *costs) for form in ("softmax", "sigmoid") for costs in ((0.95, 0.7, 0.9), (0.98, 0.7, 0.97))]


def track(video: Video, model: AssociationTransformer | None, use: Use = USES[0]) -> BoxTable:
    """Track a video; without a model, ByteTrack uses IoU."""
    tracker = ByteTrack()
    if model is not None:
        thresholds: dict[str, Any] = {name: value for name, value in asdict(use).items() if name != "form"}
        tracker = ByteTrack(cost=LearnedCost(model, video.image_size, use.form), **thresholds)
    found = [tracker.update(frame.boxes_xyxy, frame.scores) for frame in video.frames]
    numbers = np.repeat(np.arange(len(found)) + 1, [len(one.ids) for one in found])
    return BoxTable(numbers, *(np.concatenate([getattr(one, name) for one in found]) for name in ("ids", "boxes_xyxy")))


def score(videos: Iterable[Video], model: AssociationTransformer | None, use: Use = USES[0]) -> Table:
    """Return metrics over all videos of a data set and stride, keyed like ``"DanceTrack/3"``, and their means."""
    parts: dict[str, list[Scores]] = {}
    for video in videos:
        numbers = range(1, len(video.frames) + 1)
        scores = score_sequence(video.ground_truth, track(video, model, use), video.group, numbers, name=video.name)
        parts.setdefault(f"{video.group}/{video.stride}", []).extend(scores.values())
    combined = {name: Scores.combine(scores) for name, scores in parts.items()}
    table = {name: {metric: round(float(one[metric]), 2) for metric in METRICS} for name, one in combined.items()}  # type: ignore[arg-type]
    for stride in sorted({name.split("/")[1] for name in table}):
        rows = [row for name, row in table.items() if name.endswith(f"/{stride}")]
        table[f"mean/{stride}"] = {metric: round(mean(row[metric] for row in rows), 2) for metric in METRICS}
    return table


def choose(videos: Sequence[Video], model: AssociationTransformer) -> tuple[Use, float]:
    """Return the setting with the highest mean of HOTA and IDF1 on validation videos, and that mean."""

    def quality(use: Use) -> float:
        rows = [row for name, row in score(videos, model, use).items() if name.startswith("mean/")]
        return mean((row["HOTA"] + row["IDF1"]) / 2 for row in rows)

    return max(((use, quality(use)) for use in USES), key=lambda pair: pair[1])
