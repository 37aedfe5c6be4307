"""roboflow/trackers, BoT-SORT without images. ``supervision.Detections`` are built before timing."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import supervision as sv
from trackers import BoTSORTTracker, ByteTrackTracker, CBIoUTracker, OCSORTTracker, SORTTracker

from benchmarks.peers import Peer

PACKAGES = ("trackers", "supervision", "numpy", "scipy")


def _prepare(boxes: np.ndarray, scores: np.ndarray) -> sv.Detections:
    return sv.Detections(xyxy=boxes, confidence=scores)


def _read(tracked: sv.Detections) -> tuple[np.ndarray, np.ndarray]:
    named = tracked.tracker_id >= 0  # -1 marks detections that are not confirmed yet
    return tracked.tracker_id[named], tracked.xyxy[named]


def _peer(tracker: type[Any], **given: Any) -> Peer:
    defaults = {name: p.default for name, p in inspect.signature(tracker).parameters.items()}
    return Peer(lambda: tracker(**given).update, _prepare, _read, {**defaults, **given})


TRACKERS = {
    "SORT": _peer(SORTTracker),
    "ByteTrack": _peer(ByteTrackTracker),
    "OC-SORT": _peer(OCSORTTracker),
    "C-BIoU": _peer(CBIoUTracker),
    "BoT-SORT": _peer(BoTSORTTracker, enable_cmc=False),
}
