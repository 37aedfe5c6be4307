"""How objects move, learned along the associations of a trained model; and how well the noise of a tracker fits that.

Associations are decided here: a detection belongs to the object that holds more than half of it, or to none. The
filter is then that of a tracker, and the likelihood a textbook one. Undecided, the small shares of what is far away
would pass for noise; so would a single association with something elsewhere in the image, which is undone.
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

FARTHEST = 1.0  # box heights from the last place; what is farther is somebody else


@dataclass(frozen=True, eq=False)
class ObservedTrajectories:
    """Centres of ``M`` objects in windows of ``T`` frames.

    Attributes:
        points: ``(M, T, 2)`` in pixels; anything where not seen.
        seen: ``(M, T)`` bool, all True in frame 0.
        heights: ``(M,)`` of the box in frame 0, in pixels.
    """

    points: Tensor
    seen: Tensor
    heights: Tensor

    @property
    def count(self) -> int:
        """Number of detections, without those of frame 0."""
        return int(self.seen[:, 1:].sum())


@torch.no_grad()
def confident_trajectories(
    model: NeuralKalmanFilter, windows: Dataset[WindowBatch], batch_size: int = 32
) -> ObservedTrajectories:
    """The trajectories that a trained model finds in windows.

    Raises:
        ValueError: no detection belongs to one of the frame before.

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
        centres = owned @ (output.points + output.origin)
        points.append(centres.transpose(1, 2)[real])
        seen.append(owned.sum(-1).transpose(1, 2)[real] > 0)
        sides = batch.boxes_xyxy[:, 0, :, 3] - batch.boxes_xyxy[:, 0, :, 1]
        heights.append(sides.clamp(min=SMALLEST_SIDE)[real])
    if points:
        found = _undo_jumps(ObservedTrajectories(torch.cat(points), torch.cat(seen), torch.cat(heights)))
        if found.count:
            return found
    raise ValueError("no detection belongs to one of the frame before: train the model first, or give more windows")


def noise_loglik(found: ObservedTrajectories, noise: MotionNoise) -> float:
    """How probable the noise of a tracker makes trajectories: mean log-density of a detection, in nats, given the past.

    Only the noise of the centre counts.

    >>> from mot_core.association.kalman import BYTETRACK_NOISE
    >>> found = ObservedTrajectories(torch.zeros(1, 5, 2), torch.ones(1, 5).bool(), torch.tensor([100.0]))  # it stands
    >>> round(noise_loglik(found, BYTETRACK_NOISE), 2)
    -6.64
    """

    def variances(pair: Any) -> Tensor:
        relative, absolute = pair
        return (relative * found.heights + absolute).square()

    process = torch.stack([variances(noise.process[0]), variances(noise.process_velocity[0])], -1)
    initial = torch.stack([variances(noise.initial[0]), variances(noise.initial_velocity[0])], -1)
    return _loglik(found, process, variances(noise.measurement[0]), initial, 1.0).item()


def learn_noise(found: ObservedTrajectories, motion: MotionModel) -> MotionModel:
    """``motion`` with the ``q`` and ``r`` that make trajectories most probable, each frame given those before.

    The variance ``p0`` becomes ``r``, as a track begins with a detection.

    Args:
        found: trajectories.
        motion: where to begin; ``r`` does not fall below a hundredth of its own.

    >>> rng = torch.Generator().manual_seed(0)
    >>> walk = torch.randn(500, 10, 2, generator=rng).cumsum(1).cumsum(1) + 3 * torch.randn(500, 10, 2, generator=rng)
    >>> found = ObservedTrajectories(walk, torch.ones(500, 10).bool(), torch.full((500,), 100.0))
    >>> learned = learn_noise(found, MotionModel())
    >>> round(learned.q**0.5 * 100, 1), round(learned.r**0.5 * 100, 1)  # in pixels
    (0.9, 3.0)
    """
    logs = torch.tensor([motion.q, motion.r], dtype=torch.float64).log().requires_grad_()
    floor = motion.r * NOISE_FLOOR
    exact = ObservedTrajectories(found.points.double(), found.seen, found.heights.double())
    heights = exact.heights[None]
    optimizer = torch.optim.LBFGS([logs], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        q, r = logs.exp()
        measurement = motion.measurement_noise(heights, r + floor)[0]
        initial = motion.initial_variance(heights)[0]
        initial = torch.cat([measurement[:, None], initial[:, 1:]], 1)
        value = -_loglik(exact, motion.process_noise(heights, q)[0], measurement, initial, motion.dt)
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    q, r = logs.detach().exp()
    return replace(motion, q=q.item(), r=r.item() + floor, p0=r.item() + floor)


def _undo_jumps(found: ObservedTrajectories) -> ObservedTrajectories:
    seen, last = found.seen.clone(), found.points[:, 0]
    for frame in range(1, seen.shape[1]):
        place = found.points[:, frame]
        seen[:, frame] &= (place - last).norm(dim=-1) <= FARTHEST * found.heights
        last = place.where(seen[:, frame, None], last)
    return replace(found, seen=seen)


def _loglik(found: ObservedTrajectories, process: Tensor, measurement: Tensor, initial: Tensor, dt: float) -> Tensor:
    """Every trajectory as a window with one object and one detection."""
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
