"""The network at work: tracks of whole videos by ByteTrack with its cost, and their scores."""

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
    """How a network is used as a cost.

    Args:
        form: of the association (``model.FORMS``).
        max_cost: as in ByteTrack.
        max_cost_low: as in ByteTrack.
        max_cost_unconfirmed: as in ByteTrack.
    """

    form: str
    max_cost: float
    max_cost_low: float
    max_cost_unconfirmed: float


# A loss decides how sure of itself a network is, and the thresholds of ByteTrack are made for IoU. With one use for
# all, differences between losses would mostly be differences of calibration; so each takes what suits it best.
USES = [Use(form, *costs) for form in ("softmax", "sigmoid") for costs in ((0.95, 0.7, 0.9), (0.98, 0.7, 0.97))]


def track(video: Video, model: AssociationTransformer | None, use: Use = USES[0]) -> BoxTable:
    """The tracks of a video; without a model by the IoU of boxes, ByteTrack as it is."""
    tracker = ByteTrack()
    if model is not None:
        thresholds: dict[str, Any] = {name: value for name, value in asdict(use).items() if name != "form"}
        tracker = ByteTrack(cost=LearnedCost(model, video.image_size, use.form), **thresholds)
    found = [tracker.update(frame.boxes_xyxy, frame.scores) for frame in video.frames]
    numbers = np.repeat(np.arange(len(found)) + 1, [len(one.ids) for one in found])
    return BoxTable(numbers, *(np.concatenate([getattr(one, name) for one in found]) for name in ("ids", "boxes_xyxy")))


def score(videos: Iterable[Video], model: AssociationTransformer | None, use: Use = USES[0]) -> Table:
    """The metrics over all videos of a data set and stride together, by ``"DanceTrack/3"``; and means of these."""
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
    """The use with the highest mean of HOTA and IDF1 on videos that are not those of the test, and that mean."""

    def quality(use: Use) -> float:
        rows = [row for name, row in score(videos, model, use).items() if name.startswith("mean/")]
        return mean((row["HOTA"] + row["IDF1"]) / 2 for row in rows)

    return max(((use, quality(use)) for use in USES), key=lambda pair: pair[1])
