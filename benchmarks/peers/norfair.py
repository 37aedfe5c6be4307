"""Norfair with IoU distance, its fastest filter and its example threshold, on ``Detection`` objects built before."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from norfair import Detection, Tracker

from benchmarks.peers import Peer, Step

PACKAGES = ("norfair", "numpy", "scipy")
# Norfair has no default for these two.
PARAMETERS = {"distance_function": "iou", "distance_threshold": 0.7}


def _prepare(boxes: np.ndarray, scores: np.ndarray) -> list[Detection]:
    return [
        Detection(corners, scores=np.repeat(score, 2))
        for corners, score in zip(boxes.reshape(-1, 2, 2), scores, strict=True)
    ]


def _read(tracked: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    # All active objects, because Norfair does not report which of them were detected in this frame.
    boxes = np.array([t.estimate.ravel() for t in tracked]).reshape(-1, 4)
    return np.array([t.id for t in tracked], np.int64), boxes


def _start() -> Step:
    return Tracker(**PARAMETERS).update


_DEFAULTS = {name: p.default for name, p in inspect.signature(Tracker).parameters.items()}
TRACKERS = {"IoU": Peer(_start, _prepare, _read, {**_DEFAULTS, **PARAMETERS})}
