"""Training on the detections to be tracked, for ``mot em-kalman adapt`` and ``mot track --adapt``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from em_kalman.checkpoint import save_model
from em_kalman.detections.sampler import WindowSampler
from em_kalman.detections.sequences import DetectionSequence
from em_kalman.model import NeuralKalmanFilter
from em_kalman.tracking.tracker import EMKalmanTracker
from em_kalman.tracking.weak_share import learn_weak_share
from em_kalman.training import Schedule, fit
from mot_core.io import BoxTable
from mot_core.io import Sequence as VideoSequence

WINDOWS = 260  # number of training windows, if the sequences are long enough


def adapt(
    sequences: Sequence[DetectionSequence],
    *,
    min_score: float | None = None,
    low_score: float | None = None,
    seed: int = 0,
    schedule: Schedule | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
) -> NeuralKalmanFilter:
    """Train a model for :class:`em_kalman.EMKalmanTracker` on the detections to be tracked, without labels.

    The association, motion noise and detection probability are learned from about 260 windows of strong detections
    (:func:`em_kalman.fit`), and the share of objects among weak detections from all frames
    (:func:`em_kalman.learn_weak_share`).

    Args:
        sequences: Detections with scores; their identities are not read.
        min_score: Minimum score of strong detections. By default that of the tracker, for scores in [0, 1].
        low_score: Minimum score of weak detections. By default that of the tracker, for scores in [0, 1].
        seed: Seed for weights and order.
        schedule: Training schedule; ``Schedule()`` by default.
        report: Callable that receives the record of every epoch when it ends.

    Raises:
        AssociationCollapse: If training ends where everything is clutter; another seed may help.
        ValueError: If scores are outside [0, 1] and a minimum is not given, or no sequence is as long as a window.

    >>> from mot_core.io import make_scene
    >>> scene = make_scene(num_objects=6, num_frames=40)
    >>> street = DetectionSequence("street", scene.detections, range(1, 41), scene.image_size)
    >>> model = adapt([street], schedule=Schedule(warmup_epochs=1, epochs=1, min_steps=0))
    >>> model.weak_share.shape
    torch.Size([10])
    """
    given = {"min_score": min_score, "low_score": low_score}
    missing = [name for name, value in given.items() if value is None]
    if missing:
        _check_scores(sequences, missing)
    strong_from = EMKalmanTracker.min_score if min_score is None else min_score
    weak_from = EMKalmanTracker.low_score if low_score is None else low_score
    frames = sum(len(one.frames) for one in sequences)
    strong = [replace(one, table=one.table.select(one.table.scores >= strong_from)) for one in sequences]
    windows = WindowSampler(strong, stride=max(1, frames // WINDOWS), seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NeuralKalmanFilter(learn_noise=True)
        fit(model, windows, schedule, seed=seed, report=report)
    learn_weak_share(model, sequences, min_score=strong_from, low_score=weak_from)
    return model.eval()


def adapt_tracker(
    detections: Sequence[tuple[VideoSequence, BoxTable]], settings: Mapping[str, Any], output: Path
) -> dict[str, Any]:
    """Train for ``mot track --adapt`` and return the tracker parameters that use the model.

    Args:
        detections: Sequences to be tracked, with their detections.
        settings: Parameters of the tracker that the user gave.
        output: Folder in which the model is saved, as ``em_kalman.pt``.

    Raises:
        ValueError: If the user gave a model, too.

    >>> adapt_tracker([], {"checkpoint": "model.pt"}, Path())
    Traceback (most recent call last):
    ValueError: --adapt: expected no --checkpoint, got model.pt; leave out one of them
    """
    if settings.get("checkpoint"):
        raise ValueError(f"--adapt: expected no --checkpoint, got {settings['checkpoint']}; leave out one of them")
    sequences = [
        DetectionSequence(one.name, table, one.frame_numbers(), one.image_size or _extent(table))
        for one, table in detections
    ]
    model = adapt(sequences, min_score=settings.get("min_score"), low_score=settings.get("low_score"))
    path = output / "em_kalman.pt"
    save_model(model, path)
    return {"checkpoint": str(path)}


def _extent(table: BoxTable) -> tuple[int, int]:
    """Return the height and width that contain all boxes, which is enough for the density of clutter."""
    if not len(table):
        return 1, 1
    width, height = table.boxes_xyxy[:, 2:].max(0)
    return max(1, round(float(height))), max(1, round(float(width)))


def _check_scores(sequences: Sequence[DetectionSequence], missing: Sequence[str]) -> None:
    for one in sequences:
        scores = one.table.scores
        if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
            raise ValueError(
                f"{one.name}: expected scores in [0, 1], for which the default thresholds are made, got scores in "
                f"[{scores.min():g}, {scores.max():g}]; set {' and '.join(missing)} for these scores"
            )
