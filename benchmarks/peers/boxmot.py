"""BoxMOT: its Python trackers, and its C++ ByteTrack if it builds (needs OpenCV and Eigen for C++)."""

from __future__ import annotations

import numpy as np
from boxmot import create_tracker
from boxmot.trackers.config import load_tracker_config
from boxmot.trackers.specs import TrackerSpec

from benchmarks.peers import Peer, Step

PACKAGES = ("boxmot", "numpy", "scipy", "lapx", "torch")
BLANK = np.zeros((1080, 1920, 3), np.uint8)  # SFSORT needs the image size


def _prepare(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.column_stack([boxes, scores, np.zeros_like(scores)])


def _read(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows[:, 4].astype(np.int64), rows[:, :4]


def _peer(name: str, backend: str = "python") -> Peer:
    parameters = load_tracker_config(name, None, {})

    def start() -> Step:
        tracker = create_tracker(TrackerSpec(name, backend=backend))
        if tracker.requirements.frame:
            return lambda rows: tracker.update(rows, BLANK)
        return tracker.update

    return Peer(start, _prepare, _read, parameters)


def _compiled() -> dict[str, Peer]:
    peer = _peer("bytetrack", backend="cpp")
    try:
        peer.start()
    except RuntimeError:  # BoxMOT compiles on first use and prints missing dependencies
        return {}
    return {"ByteTrack, C++": peer}


TRACKERS = {
    "ByteTrack": _peer("bytetrack"),
    **_compiled(),
    "OC-SORT": _peer("ocsort"),
    "SFSORT": _peer("sfsort"),
}
