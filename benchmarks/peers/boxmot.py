"""BoxMOT, its Python trackers; its C++ ones are built on first use, from OpenCV and Eigen on the machine."""

from __future__ import annotations

import numpy as np
from boxmot import create_tracker
from boxmot.trackers.config import load_tracker_config
from boxmot.trackers.specs import TrackerSpec

from peers import Peer, Step

PACKAGES = ("boxmot", "numpy", "scipy", "lapx", "torch")
BLANK = np.zeros((1080, 1920, 3), np.uint8)  # SFSORT asks for the size of the image


def _prepare(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.column_stack([boxes, scores, np.zeros_like(scores)])


def _read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows[:, 4].astype(np.int64), rows[:, :4]


def _peer(name: str) -> Peer:
    parameters = load_tracker_config(name, None, {})

    def start() -> Step:
        tracker = create_tracker(TrackerSpec(name))
        if tracker.requirements.frame:
            return lambda rows: tracker.update(rows, BLANK)
        return tracker.update

    return Peer(start, _prepare, _read, parameters)


TRACKERS = {"ByteTrack": _peer("bytetrack"), "OC-SORT": _peer("ocsort"), "SFSORT": _peer("sfsort")}
