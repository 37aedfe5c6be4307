"""Training on the detections to be tracked, for ``mot em-kalman adapt`` and ``mot track --adapt``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from em_kalman.checkpoint import load_model, save_model
from em_kalman.detections.sampler import WindowSampler
from em_kalman.detections.sequences import DetectionSequence
from em_kalman.detections.window import WindowBatch
from em_kalman.loss import EMKalmanLoss
from em_kalman.model import NeuralKalmanFilter
from em_kalman.motion.motion_model import MotionModel
from em_kalman.motion.noise import confident_trajectories, learn_noise
from em_kalman.tracking.tracker import READY_MODEL, EMKalmanTracker
from em_kalman.tracking.weak_share import learn_weak_share
from em_kalman.training import AssociationCollapse, Schedule, fit
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

    The association and the motion noise are learned from about 260 windows of strong detections
    (:func:`em_kalman.fit`), and the share of objects among weak detections from all frames
    (:func:`em_kalman.learn_weak_share`). The detection probability is that of the model of the package: estimated from
    the windows, it is too low for lost tracks, because few of a window's ten frames follow the loss.

    Training can end in a bad optimum where objects move far between frames. The model of the package, of which only the
    motion noise is learned from these windows, is therefore returned instead if the windows are likelier under it, or
    if training collapses. For this comparison the motion noise of the trained model is learned in the same way.

    Args:
        sequences: Detections with scores; their identities are not read.
        min_score: Minimum score of strong detections. By default that of the tracker, for scores in [0, 1].
        low_score: Minimum score of weak detections. By default that of the tracker, for scores in [0, 1].
        seed: Seed for weights and order.
        schedule: Training schedule; ``Schedule()`` by default.
        report: Callable that receives the record of every epoch when it ends; then the record of the comparison:
            ``stage`` 3, and the negative log-likelihoods per detection ``trained`` (infinite after a collapse) and
            ``ready``. The smaller one is that of the returned model.

    Raises:
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
        trained = NeuralKalmanFilter(learn_noise=True)
        try:
            fit(trained, windows, schedule, seed=seed, report=report)
            likelihood, _ = _fitted(trained, windows)
        except AssociationCollapse:
            likelihood = math.inf
    ready = load_model(READY_MODEL)
    of_ready, motion = _fitted(ready, windows)
    ready.set_motion(motion)
    if report is not None:
        report({"stage": 3, "trained": likelihood, "ready": of_ready})
    trained.detection_probability.copy_(ready.detection_probability)
    model = trained if likelihood <= of_ready else ready
    learn_weak_share(model, sequences, min_score=strong_from, low_score=weak_from)
    return model.eval()


def describe_record(record: Mapping[str, float]) -> str:
    """Describe a record that :func:`adapt` reports in one line; empty for the first stage of training.

    >>> describe_record({"stage": 3, "trained": 10.78, "ready": 10.64})
    'kept the model of the package with the motion noise of these detections: 10.64 nats per detection, 10.78 trained'
    """
    if record["stage"] == 2:
        numbers = f"{record['nll_per_det']:.2f} nats per detection, {record['unexplained']:.0%} unexplained"
        return f"epoch {record['epoch'] + 1:.0f}: {numbers}"
    if record["stage"] == 3 and record["ready"] < record["trained"]:
        trained = f"{record['trained']:.2f} trained" if record["trained"] < math.inf else "training collapsed"
        return (
            "kept the model of the package with the motion noise of these detections: "
            f"{record['ready']:.2f} nats per detection, {trained}"
        )
    return ""


@torch.no_grad()
def _fitted(model: NeuralKalmanFilter, windows: WindowSampler) -> tuple[float, MotionModel]:
    """Return the negative log-likelihood per detection under the noise along the model's associations, and this."""
    try:
        found = confident_trajectories(model, windows)
    except ValueError:  # no associated detections
        return math.inf, model.learned_motion()
    with torch.enable_grad():
        motion = learn_noise(found, MotionModel(), all_noise=True)
    loss, total, count = EMKalmanLoss().eval(), 0.0, 0
    for batch in DataLoader(windows, batch_size=32, collate_fn=WindowBatch.stack):
        number = int(batch.valid[:, 1:].sum())
        total += number * loss(model(batch, motion=motion), batch)["nll_per_det"].item()
        count += number
    return total / max(count, 1), motion


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
    minimum, lowest = settings.get("min_score"), settings.get("low_score")
    model = adapt(sequences, min_score=minimum, low_score=lowest, report=_print_choice)
    path = output / "em_kalman.pt"
    save_model(model, path)
    return {"checkpoint": str(path)}


def _print_choice(record: dict[str, float]) -> None:
    if record["stage"] == 3 and (text := describe_record(record)):
        print(text)


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
