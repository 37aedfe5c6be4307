"""The mot-core trackers, on arrays like every peer, and once on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.peers import Peer, Step
from mot_core.association import ByteTrack, OCSort, Sort
from mot_core.structures import Tracks

PACKAGES = ("mot-core", "numpy", "scipy", "torch")


def _arrays(boxes: np.ndarray, scores: np.ndarray) -> tuple[Any, Any]:
    return boxes, scores


def _tensors(boxes: np.ndarray, scores: np.ndarray) -> tuple[Any, Any]:
    return torch.from_numpy(boxes), torch.from_numpy(scores)


def _read(tracks: Tracks) -> tuple[np.ndarray, np.ndarray]:
    tracks = tracks.numpy()
    return tracks.ids, tracks.boxes_xyxy


def _peer(tracker: type[Any], prepare: Any = _arrays) -> Peer:
    def start() -> Step:
        update = tracker().update
        return lambda frame: update(*frame)

    return Peer(start, prepare, _read, tracker().parameters())


TRACKERS = {
    "SORT": _peer(Sort),
    "ByteTrack": _peer(ByteTrack),
    "ByteTrack, tensors": _peer(ByteTrack, _tensors),
    "OC-SORT": _peer(OCSort),
}
