"""Two-stage training on unlabeled detections: a warm-up without the dustbin, then the full model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from em_kalman.detections.window import WindowBatch
from em_kalman.loss import EMKalmanLoss
from em_kalman.model import MATCHED, NeuralKalmanFilter
from em_kalman.objectives import Objective
from em_kalman.tracking.detection_probability import learn_detection_probability


class AssociationCollapse(ValueError):
    """Training collapsed: the model explains nearly all detections as clutter."""


@dataclass(frozen=True)
class Schedule:
    """Schedule of the two training stages.

    Explaining everything as clutter is a local optimum near random weights. During warm-up the dustbin is therefore
    closed, windows have two frames and the measurement noise is large. Then the dustbin is calibrated below most
    mutually best pairs, and all parameters are trained.

    Attributes:
        warmup_epochs: Number of epochs of the first stage.
        epochs: Number of epochs of the second stage.
        min_steps: Minimum number of steps of either stage; with few windows the number of epochs is increased.
        warmup_lr: Learning rate of Adam in the first stage.
        lr: Learning rate of Adam in the second stage.
        batch_size: Number of windows per step.
        warmup_dustbin_logit: Dustbin logit in the first stage.
        clutter_shift: Offset of the log-density of clutter in the first stage.
        warmup_noise_scale: Factor of the measurement variance in the first stage.
        quantile: Share of the mutually best pairs that is left to the dustbin after the first stage. Higher values
            start the second stage with more unmatched detections.
        clip: Maximum gradient norm.
        collapse_above: Share of unexplained detections in an epoch of the second stage above which training fails.

    >>> Schedule().warmup_epochs
    5
    """

    warmup_epochs: int = 5
    epochs: int = 5
    min_steps: int = 150
    warmup_lr: float = 3e-2
    lr: float = 1e-2
    batch_size: int = 8
    warmup_dustbin_logit: float = -8.0
    clutter_shift: float = -30.0
    warmup_noise_scale: float = 36.0
    quantile: float = 0.05
    clip: float = 10.0
    collapse_above: float = 0.7


def fit(
    model: NeuralKalmanFilter,
    windows: Dataset[WindowBatch],
    schedule: Schedule | None = None,
    *,
    objective: Objective = "predictive",
    seed: int = 0,
    report: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train a model on detections alone, on its own device, and learn its detection probability.

    Args:
        model: Model to train; modified in place.
        windows: Dataset of windows, such as :class:`em_kalman.WindowSampler`.
        schedule: Training schedule; ``Schedule()`` by default.
        objective: Training objective; see :func:`em_kalman.frame_loglik`.
        seed: Seed for the order of the windows.
        report: Callable that receives the record of every epoch when it ends.

    Returns:
        One record per epoch: ``stage`` (1 or 2), ``epoch``, ``nll_per_det``, ``unexplained``, ``assoc_entropy``,
        ``gate_violations`` and, with a dustbin, ``dustbin``.

    Raises:
        AssociationCollapse: If an epoch of the second stage left most detections unexplained.
        ValueError: If there are no windows, or ``learn_noise`` is combined with an objective that is not a likelihood.

    >>> from em_kalman import DetectionSequence, WindowSampler
    >>> from mot_core.io import make_scene
    >>> scene = make_scene(num_objects=6, num_frames=20)
    >>> street = DetectionSequence("street", scene.detections, range(1, 21), scene.image_size)
    >>> history = fit(NeuralKalmanFilter(), WindowSampler([street]), Schedule(warmup_epochs=2, epochs=0, min_steps=0))
    >>> [line["stage"] for line in history]
    [1, 1]
    """
    schedule = Schedule() if schedule is None else schedule
    check_objective(model, objective)
    if isinstance(windows, Sized) and not len(windows):
        raise ValueError(
            "windows: expected at least one window, got none; the sequences may be shorter than num_frames"
        )
    loader = DataLoader(
        windows,
        batch_size=schedule.batch_size,
        shuffle=True,
        collate_fn=WindowBatch.stack,
        generator=torch.Generator().manual_seed(seed),
    )
    loss, history = EMKalmanLoss(objective), []
    device = next(model.parameters()).device
    for stage, epochs, lr in ((1, schedule.warmup_epochs, schedule.warmup_lr), (2, schedule.epochs, schedule.lr)):
        if stage == 2 and schedule.warmup_epochs:
            calibrate_dustbin(model, (batch.to(device) for batch in loader), schedule.quantile)
        optimizer = torch.optim.Adam(model.parameters(), lr)
        epochs = epochs and max(epochs, math.ceil(schedule.min_steps / len(loader)))
        for epoch in range(epochs):
            totals: dict[str, float] = {}
            for batch in loader:
                values = step_values(model, loss, batch.to(device), stage, schedule)
                optimizer.zero_grad()
                torch.autograd.backward(values["loss"])
                torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
                optimizer.step()
                for name, value in values.items():
                    totals[name] = totals.get(name, 0.0) + value.item() / len(loader)
            del totals["loss"]
            if model.dustbin is not None:
                totals["dustbin"] = model.dustbin.item()
            history.append({"stage": stage, "epoch": epoch, **totals})
            if report is not None:
                report(history[-1])
            if stage == 2:
                check_collapse(totals["unexplained"], schedule)
    learn_detection_probability(model, windows)
    return history


def step_values(
    model: NeuralKalmanFilter, loss: EMKalmanLoss, batch: WindowBatch, stage: int, schedule: Schedule
) -> dict[str, Tensor]:
    """Compute the loss and diagnostics of one batch in a stage (1 or 2).

    >>> batch = WindowBatch(torch.rand(1, 5, 3, 4).cumsum(-1), torch.ones(1, 5, 3).bool(), torch.ones(1, 2) * 9,
    ...     torch.arange(5)[None])
    >>> sorted(step_values(NeuralKalmanFilter(), EMKalmanLoss(), batch, 1, Schedule()))
    ['assoc_entropy', 'gate_violations', 'loss', 'nll_per_det', 'unexplained']
    """
    if stage == 2:
        return loss(model(batch), batch)
    batch = batch.first_frames(2)
    motion = replace(model.motion, r=model.motion.r * schedule.warmup_noise_scale)
    shut = None if model.dustbin is None else torch.full_like(model.dustbin, schedule.warmup_dustbin_logit)
    return loss(model(batch, motion=motion, dustbin=shut), batch, clutter_shift=schedule.clutter_shift)


@torch.no_grad()
def calibrate_dustbin(model: NeuralKalmanFilter, batches: Iterable[WindowBatch], quantile: float = 0.05) -> None:
    """Set the dustbin logit so that all but the share ``quantile`` of the mutually best pairs are matched.

    The pair at the quantile would get the probability 0.9 if it were isolated.

    >>> batch = WindowBatch(torch.rand(1, 5, 3, 4).cumsum(-1), torch.ones(1, 5, 3).bool(), torch.ones(1, 2) * 9,
    ...     torch.arange(5)[None])
    >>> model = NeuralKalmanFilter()
    >>> calibrate_dustbin(model, [batch])
    >>> model.dustbin.item() != 0
    True
    """
    if model.dustbin is None:
        return
    found = []
    for batch in batches:
        pairs = batch.valid[:, :-1, :, None] & batch.valid[:, 1:, None, :]
        logits = model.network(model.features(batch)).masked_fill(~pairs, float("-inf"))
        best = pairs & (logits == logits.amax(-1, keepdim=True)) & (logits == logits.amax(-2, keepdim=True))
        found.append(logits[best])
    scores = torch.cat(found) if found else torch.zeros(0)
    if not len(scores):
        raise ValueError(
            "windows: expected detections in two adjacent frames, found none; use other windows or lower min_score"
        )
    rank = min(len(scores) - 1, int(quantile * len(scores)))
    model.dustbin.copy_(scores.sort().values[rank] - MATCHED)


def check_objective(model: NeuralKalmanFilter, objective: Objective) -> None:
    """Check that the objective supports learning the noise, which would otherwise shrink to 0.

    Raises:
        ValueError: If the noise is learned with an objective other than "predictive".

    >>> check_objective(NeuralKalmanFilter(), "smoothed")
    """
    if model.log_noise is not None and objective != "predictive":
        raise ValueError(
            f"objective: expected predictive with learn_noise=True, got {objective}, which does not constrain the "
            "motion or lets the noise shrink to 0"
        )


def check_collapse(unexplained: float, schedule: Schedule) -> None:
    """Check the share of unexplained detections of an epoch.

    Raises:
        AssociationCollapse: If the share is above ``schedule.collapse_above``.

    >>> check_collapse(0.05, Schedule())
    """
    if not unexplained <= schedule.collapse_above:
        raise AssociationCollapse(
            f"training collapsed: {unexplained:.0%} of the detections are explained as clutter, expected at most "
            f"{schedule.collapse_above:.0%}; train with another seed, more warmup_epochs, or more hidden units"
        )
