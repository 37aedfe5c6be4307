"""Ultralytics, without camera motion and appearance. ``Boxes`` of NumPy arrays are built before timing."""

from __future__ import annotations

import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.checks import check_yaml

from benchmarks.peers import Peer, Step

PACKAGES = ("ultralytics", "numpy", "lap", "torch")
IMAGE_SIZE = (1080, 1920)  # only normalized coordinates depend on it, and the trackers use pixels


def _prepare(boxes: np.ndarray, scores: np.ndarray) -> Boxes:
    classes = np.zeros_like(scores)
    return Boxes(np.column_stack([boxes, scores, classes]), IMAGE_SIZE)


def _read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.reshape(-1, 8)
    return rows[:, 4].astype(np.int64), rows[:, :4]


def _peer(name: str, **given: str) -> Peer:
    parameters = {**YAML.load(check_yaml(f"{name}.yaml")), **given}

    def start() -> Step:
        return TRACKER_MAP[name](args=IterableSimpleNamespace(**parameters)).update

    return Peer(start, _prepare, _read, parameters)


TRACKERS = {
    "ByteTrack": _peer("bytetrack"),
    "OC-SORT": _peer("ocsort"),
    "BoT-SORT": _peer("botsort", gmc_method="none"),
    "TrackTrack": _peer("tracktrack", gmc_method="none"),
}
