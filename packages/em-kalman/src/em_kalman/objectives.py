"""Training objectives: log-densities of the detections under the filtered trajectories."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from em_kalman.model import NKFOutput
from mot_core.ops import FilterResult, observation_loglik, rts_smoother

Objective: TypeAlias = Literal["predictive", "smoothed", "filtered", "published", "em"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)


def frame_loglik(output: NKFOutput, valid: Tensor, objective: Objective = "predictive") -> Tensor:
    """Log-density of the detections of every frame, excluding their unexplained share.

    With a mean ``m`` and covariance ``S`` of the objects in frame ``t``::

        loglik[t] = log N(z[t] - H[t] m[t]; H[t] S[t] H[t]' + R)

    The objectives differ in the moments that they use:

    - "predictive": moments given the previous frames. In the layout "joint" the sum over frames is the log marginal
      likelihood of the window (prediction-error decomposition).
    - "filtered": moments given the previous and the current frame.
    - "smoothed": moments given all frames (Rauch-Tung-Striebel), the marginal probability of the observations given the
      inferred states of Li et al. (arXiv 2411.11514).
    - "published": moments of the authors' code, whose smoother applies the correction of every frame a second time.
    - "em": expected log-density under the detached smoothed states, the M-step of Burke and Ramamoorthy (arXiv
      2105.00369). In the layout "joint" its gradient equals that of "predictive" (Fisher's identity).

    Args:
        output: Output of :class:`em_kalman.NeuralKalmanFilter`.
        valid: Mask ``(B, T, N)`` bool of its windows.
        objective: Name of the objective.

    Returns:
        Log-densities ``(B, T)`` in nats; 0 in frame 0 for "predictive" and "em", which do not use it.

    Raises:
        ValueError: If the objective is unknown, or "published" is used with padded windows.

    >>> import em_kalman
    >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]]).expand(1, 3, 1, 4)
    >>> batch = em_kalman.WindowBatch(boxes, torch.ones(1, 3, 1).bool(), torch.tensor([[9, 9]]), torch.arange(3)[None])
    >>> model = em_kalman.NeuralKalmanFilter(dustbin=False)
    >>> [round(value, 2) for value in frame_loglik(model(batch), batch.valid)[0].tolist()]  # a static object
    [0.0, -3.63, -3.38]
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    result, noise = output.filter, output.measurement_noise
    if objective == "em":
        return _without_first(_expected(output, valid))
    if objective == "predictive":
        mean, cov = result.predicted_mean, result.predicted_cov
    elif objective == "filtered":
        mean, cov = result.mean, result.cov
    elif objective == "smoothed":
        smoothed = rts_smoother(result)
        mean, cov = smoothed.mean, smoothed.cov
    else:
        if not valid.all():
            raise ValueError(
                "objective: expected windows without padding for published, got padded ones; use predictive, or "
                "windows of policy constant_count and one size per batch"
            )
        mean, cov = corrected_twice(result)
    value = observation_loglik(output.points, output.assoc, mean, cov, noise, valid)
    return _without_first(value) if objective == "predictive" else value


def corrected_twice(result: FilterResult) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the smoother in the authors' code, which uses no other frame than the current one.

    ::

        C = S F' inv(S-),    m <- m + C (m - m-),    S <- S + C (S - S-) C'

    in all frames but the last. This repeats the correction of the filter, unlike the Rauch-Tung-Striebel smoother.

    >>> from mot_core.ops import kalman_filter
    >>> one = torch.ones(1, 1, 1)
    >>> points = torch.tensor([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1)
    >>> result = kalman_filter(points, torch.ones(1, 3, 1, 1), points[:, 0], process_noise=one, initial_variance=one,
    ...     measurement_noise=one[..., 0])
    >>> mean, _ = corrected_twice(result)
    >>> round(result.mean[0, 1].item(), 3), round(mean[0, 1].item(), 3)
    (0.667, 0.889)
    """
    batch, frames, objects, size, coordinates = result.mean.shape
    joint = result.cov.ndim == 4
    step = torch.eye(size, dtype=result.mean.dtype, device=result.mean.device)
    if size == 2:
        step[0, 1] = result.dt
    mean, before = result.mean, result.predicted_mean
    if joint:
        step = torch.kron(step, torch.eye(objects, dtype=step.dtype, device=step.device))
        mean, before = (moment.transpose(2, 3).flatten(2, 3) for moment in (mean, before))
    cov, cov_before = result.cov, result.predicted_cov
    gain = torch.linalg.solve(cov_before, cov @ step.T, left=False)
    gain = torch.cat([gain[:, :-1], torch.zeros_like(gain[:, -1:])], 1)
    mean = mean + gain @ (mean - before)
    cov = cov + gain @ (cov - cov_before) @ gain.transpose(-1, -2)
    if joint:
        mean = mean.view(batch, frames, size, objects, coordinates).transpose(2, 3)
    return mean, cov


def _expected(output: NKFOutput, valid: Tensor) -> Tensor:
    """Compute the expected log-density under detached smoothed states."""
    smoothed = rts_smoother(output.filter)
    mean, cov = smoothed.mean.detach(), smoothed.cov.detach()
    position, points, noise = mean[..., 0, :], output.points, output.measurement_noise
    coordinates = points.shape[-1]
    assoc = output.assoc.masked_fill(~valid[:, :, None], 0)
    if cov.ndim == 4:
        objects = position.shape[2]
        seen = assoc.transpose(-1, -2)
        square = (points - seen @ position).square().sum(-1)
        spread = ((seen @ cov[..., :objects, :objects]) * seen).sum(-1)
        density = (square + coordinates * spread) / noise + coordinates * (noise.log() + math.log(2 * math.pi))
        return -(density * valid).sum(-1) / 2
    square = (points[:, :, None] - position[..., None, :]).square().sum(-1)
    spread = coordinates * cov[..., 0, 0]
    noise = noise[:, None]
    density = (square + spread[..., None]) / noise[..., None] + coordinates * (noise.log() + math.log(2 * math.pi))[
        ..., None
    ]
    return -(assoc * density).sum((-1, -2)) / 2


def _without_first(value: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(value[:, :1]), value[:, 1:]], 1)
