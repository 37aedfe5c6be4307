"""Trackers of the comparison, all with their default parameters: ours in this process, peers in theirs."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.association.streams import Stream
from benchmarks.association.workers import Worker, WorkerError
from benchmarks.association_quality.sets import Video, videos
from benchmarks.environments import install, python_of
from em_kalman import EMKalmanTracker, NeuralKalmanFilter, adapt
from mot_core.association import BoTSort, ByteTrack, CBIoU, OCSort, OnlineTracker, Sort
from mot_core.structures import Tracks

OURS: dict[str, Callable[[], OnlineTracker]] = {
    "SORT": Sort,
    "OC-SORT": OCSort,
    "ByteTrack": ByteTrack,
    "BoT-SORT": BoTSort,
    "C-BIoU": CBIoU,
    "em-kalman, ready": EMKalmanTracker,
}
ADAPTED = "em-kalman, adapted"
PEERS = {"roboflow": "roboflow trackers", "ultralytics": "Ultralytics", "boxmot": "BoxMOT"}
STRONG = 0.6  # detections from this score on, the second input of the peers


@cache
def adapted(data: Path, name: str, step: int, seed: int) -> tuple[NeuralKalmanFilter, bool]:
    """Return a model trained on the detections of a data set, without labels, and whether it is the ready model."""
    records: list[dict[str, float]] = []
    model = adapt([video.unlabelled() for video in videos(data, name, step)], seed=seed, report=records.append)
    return model, records[-1]["ready"] < records[-1]["trained"]


def run_ours(make: Callable[[], OnlineTracker], video: Video) -> list[Tracks]:
    """Return the tracks of every frame."""
    tracker, with_classes = make(), video.classes != [-1]
    return [tracker.update(one.boxes_xyxy, one.scores, one.classes if with_classes else None) for one in video.frames()]


def run_peer(package: str, tracker: str, min_score: float, video: Video) -> list[Tracks]:
    """Return the tracks of every frame. Peers receive no classes, so a new tracker is started for each class."""
    parts = [list(_by_class(video, label, min_score)) for label in video.classes]
    with tempfile.TemporaryDirectory() as folder:
        stream, output = Path(folder) / "stream.npz", Path(folder) / "tracks.npz"
        Stream.of(parts).save(stream)
        _worker(package).run("track", tracker, stream, output=str(output))
        with np.load(output, allow_pickle=False) as file:
            ends = np.cumsum(file["counts"])[:-1]
            ids, boxes = np.split(file["ids"].astype(np.int64), ends), np.split(file["boxes"].astype(float), ends)
    frames = []
    for frame in range(video.length):
        rows = [part * video.length + frame for part in range(len(parts))]
        counts = [len(ids[row]) for row in rows]
        # Identities of different trackers must differ.
        names = np.concatenate([ids[row] * len(parts) + part for part, row in enumerate(rows)])
        labels = np.repeat(np.array(video.classes), counts)
        frames.append(Tracks(names, np.concatenate([boxes[row] for row in rows]), np.ones(len(names)), labels))
    return frames


def _by_class(video: Video, label: int, min_score: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for one in video.frames(min_score):
        chosen = one.classes == label
        yield one.boxes_xyxy[chosen], one.scores[chosen]


@cache
def peer_trackers(package: str) -> tuple[list[str], str]:
    """Return the trackers of a package, and the reason if it cannot be installed or started."""
    problem = install(package)
    if problem is None:
        try:
            return list(_worker(package).about["trackers"]), ""
        except WorkerError as error:
            problem = str(error)
    return [], " ".join(problem.split())[:300]


@cache
def _worker(package: str) -> Worker:
    worker = Worker(package, python_of(package))
    atexit.register(worker.close)
    return worker
