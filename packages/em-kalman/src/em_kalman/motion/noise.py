"""Motion noise learned along the associations of a trained model, and the likelihood of a tracker's noise.

Associations are hard here: a detection belongs to the object that holds more than half of its probability, or to none.
The filter then equals that of a tracker, and the likelihood is the usual one. With soft associations, small
probabilities of distant detections would count as noise. A single wrong association with a distant detection would do
so too, and is therefore removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from em_kalman.detections.window import WindowBatch
from em_kalman.features import SMALLEST_SIDE
from em_kalman.model import NOISE_FLOOR, NeuralKalmanFilter
from em_kalman.motion.motion_model import MotionModel
from mot_core.association import MotionNoise
from mot_core.ops import kalman_filter, observation_loglik

FARTHEST = 1.0  # box heights from the last position; farther detections belong to other objects


@dataclass(frozen=True, eq=False)
class ObservedTrajectories:
    """Centers of ``M`` objects in windows of ``T`` frames.

    Attributes:
        points: Centers in pixels, ``(M, T, 2)``; any value where not seen.
        seen: Mask ``(M, T)`` bool of the frames in which the object was detected; all True in frame 0.
        heights: Box heights in frame 0, in pixels, ``(M,)``.
    """

    points: Tensor
    seen: Tensor
    heights: Tensor

    @property
    def count(self) -> int:
        """Number of detections after frame 0."""
        return int(self.seen[:, 1:].sum())


@torch.no_grad()
def confident_trajectories(
    model: NeuralKalmanFilter, windows: Dataset[WindowBatch], batch_size: int = 32
) -> ObservedTrajectories:
    """Extract the trajectories that a trained model finds in windows.

    Raises:
        ValueError: If no detection is associated with one of the previous frame.

    >>> from em_kalman import WindowSampler, DetectionSequence
    >>> from mot_core.io import BoxTable
    >>> table = BoxTable([1, 2, 3], [-1, -1, -1], [[0, 0, 4, 2], [1, 0, 5, 2], [2, 0, 6, 2]])
    >>> windows = WindowSampler([DetectionSequence("a", table, range(1, 4), (9, 9))], num_frames=3)
    >>> confident_trajectories(NeuralKalmanFilter(dustbin=False), windows).points[0, :, 0].tolist()
    [2.0, 3.0, 4.0]
    """
    loader: Iterable[WindowBatch] = DataLoader(windows, batch_size, collate_fn=WindowBatch.stack)
    device = next(model.parameters()).device
    points, seen, heights = [], [], []
    for given in loader:
        batch = given.to(device)
        output = model(batch)
        owned = (output.assoc > 0.5).to(output.points.dtype)
        real = batch.valid[:, 0]
        centers = owned @ (output.points + output.origin)
        points.append(centers.transpose(1, 2)[real])
        seen.append(owned.sum(-1).transpose(1, 2)[real] > 0)
        sides = batch.boxes_xyxy[:, 0, :, 3] - batch.boxes_xyxy[:, 0, :, 1]
        heights.append(sides.clamp(min=SMALLEST_SIDE)[real])
    if points:
        found = _undo_jumps(ObservedTrajectories(torch.cat(points), torch.cat(seen), torch.cat(heights)))
        if found.count:
            return found
    raise ValueError("windows: expected associated detections, found none; train the model first, or pass more windows")


def noise_loglik(found: ObservedTrajectories, noise: MotionNoise) -> float:
    """Mean predictive log-density of a detection, in nats, under the motion noise of a tracker.

    Only the noise of the center is used.

    >>> from mot_core.association.kalman import BYTETRACK_NOISE
    >>> found = ObservedTrajectories(torch.zeros(1, 5, 2), torch.ones(1, 5).bool(), torch.tensor([100.0]))  # static
    >>> round(noise_loglik(found, BYTETRACK_NOISE), 2)
    -6.64
    """

    def variances(pair: Any) -> Tensor:
        relative, absolute = pair
        return (relative * found.heights + absolute).square()

    process = torch.stack([variances(noise.process[0]), variances(noise.process_velocity[0])], -1)
    initial = torch.stack([variances(noise.initial[0]), variances(noise.initial_velocity[0])], -1)
    return _loglik(found, process, variances(noise.measurement[0]), initial, 1.0).item()


def learn_noise(found: ObservedTrajectories, motion: MotionModel, *, all_noise: bool = False) -> MotionModel:
    """Fit the noise by maximizing the predictive likelihood of trajectories.

    The variance ``p0`` is set to ``r``, because a track starts with a detection.

    Args:
        found: Observed trajectories.
        motion: Initial motion model; the learned ``r`` is at least a hundredth of its ``r``.
        all_noise: Whether to fit ``v0`` and ``q_position``, in addition to ``q`` and ``r``. The learned ``v0`` is at
            least that of ``motion``: fast objects are rare, so that the likelihood alone would not expect them.

    Returns:
        Copy of ``motion`` with the learned variances.

    >>> rng = torch.Generator().manual_seed(0)
    >>> walk = torch.randn(500, 10, 2, generator=rng).cumsum(1).cumsum(1) + 3 * torch.randn(500, 10, 2, generator=rng)
    >>> found = ObservedTrajectories(walk, torch.ones(500, 10).bool(), torch.full((500,), 100.0))
    >>> learned = learn_noise(found, MotionModel())
    >>> round(learned.q**0.5 * 100, 1), round(learned.r**0.5 * 100, 1)  # in pixels
    (0.9, 3.0)
    """
    start = [motion.q, motion.r]
    if all_noise:
        start += [motion.v0, max(motion.q_position, motion.q)]  # the logarithm of 0 is not finite
    logs = torch.tensor(start, dtype=torch.float64).log().requires_grad_()
    floor = motion.r * NOISE_FLOOR
    exact = ObservedTrajectories(found.points.double(), found.seen, found.heights.double())
    unit = motion.measurement_noise(exact.heights) / motion.r
    optimizer = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        q, r, *more = logs.exp()
        v0, q_position = (motion.v0 + more[0], more[1]) if all_noise else (motion.v0, motion.q_position)
        measurement = unit * (r + floor)
        process = torch.stack([unit * q_position, unit * q], -1)
        initial = torch.stack([measurement, unit * v0], -1)
        value = -_loglik(exact, process, measurement, initial, motion.dt)
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    q, r, *more = logs.detach().exp().tolist()
    learned = replace(motion, q=q, r=r + floor, p0=r + floor)
    return replace(learned, v0=motion.v0 + more[0], q_position=more[1]) if all_noise else learned


def _undo_jumps(found: ObservedTrajectories) -> ObservedTrajectories:
    """Mark detections as unseen that are too far from the last seen position."""
    seen, last = found.seen.clone(), found.points[:, 0]
    for frame in range(1, seen.shape[1]):
        position = found.points[:, frame]
        seen[:, frame] &= (position - last).norm(dim=-1) <= FARTHEST * found.heights
        last = position.where(seen[:, frame, None], last)
    return replace(found, seen=seen)


def _loglik(found: ObservedTrajectories, process: Tensor, measurement: Tensor, initial: Tensor, dt: float) -> Tensor:
    """Compute the mean log-likelihood, treating every trajectory as a window with one object and one detection."""
    points, seen = found.points[:, :, None] - found.points[:, :1, None], found.seen[:, :, None]
    points = points.masked_fill(~seen[..., None], 0)
    assoc, noise = seen[..., None].to(points.dtype), measurement[:, None]
    result = kalman_filter(
        points,
        assoc,
        points[:, 0],
        process_noise=process[:, None],
        measurement_noise=noise,
        initial_variance=initial[:, None],
        dt=dt,
    )
    value = observation_loglik(points, assoc, result.predicted_mean, result.predicted_cov, noise)
    return value[:, 1:].sum() / found.count
