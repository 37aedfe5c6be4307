"""Tracking quality on a scene, reported together with the speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.association.scenes import Scene
from mot_core.evaluation.protocol import FramePair
from mot_core.evaluation.scores import Scores, score_frames

FIELDS = ("HOTA", "MOTA", "IDF1", "IDSW")


def score(scene: Scene, found: Path) -> dict[str, float]:
    """Return scores in percent, and identity switches, of the boxes that a worker wrote to ``found``."""
    with np.load(found, allow_pickle=False) as file:
        ends = np.cumsum(file["counts"])
        ids = np.split(file["ids"].astype(np.int64), ends[:-1])
        boxes = np.split(file["boxes"].astype(np.float64), ends[:-1])
    results = iter(zip(ids, boxes, strict=True))
    combined = Scores.combine(
        score_frames([FramePair(*truth, *next(results)) for truth in sequence]) for sequence in scene.ground_truth
    )
    return {field: round(combined[field], 3) for field in FIELDS}
