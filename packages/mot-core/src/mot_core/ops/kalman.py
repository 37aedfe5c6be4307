"""Batched Kalman filter and Rauch-Tung-Striebel smoother of many points, with soft associations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mot_core.ops import joint_kalman
from mot_core.ops.choice import use_kernels
from mot_core.ops.fused import kalman as fused
from mot_core.ops.fused import smoother as fused_smoother

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class FilterResult:
    """Moments of the states. All ``d`` coordinates share one covariance.

    ``S`` is 2 for position and velocity, 1 for position alone. In the layout "decoupled" a covariance is
    ``(B, T, K, S, S)``: objects do not see each other. In the layout "joint" it is ``(B, T, S * K, S * K)``: the
    positions of all objects, then their velocities.

    Attributes:
        mean: ``(B, T, K, S, d)`` after the frame.
        cov: covariance after the frame.
        predicted_mean: ``(B, T, K, S, d)`` before the frame; of frame 0, the initial state.
        predicted_cov: covariance before the frame.
        dt: time between frames.
    """

    mean: Tensor
    cov: Tensor
    predicted_mean: Tensor
    predicted_cov: Tensor
    dt: float


@dataclass(frozen=True, eq=False)
class SmootherResult:
    """Moments given all frames, of the shapes of :class:`FilterResult`.

    Attributes:
        mean: ``(B, T, K, S, d)``.
        cov: covariance.
    """

    mean: Tensor
    cov: Tensor


def kalman_filter(
    points: Tensor,
    assoc: Tensor,
    initial: Tensor,
    *,
    process_noise: Tensor,
    measurement_noise: Tensor,
    initial_variance: Tensor,
    dt: float = 1.0,
    layout: Literal["decoupled", "joint"] = "decoupled",
    mask: Tensor | None = None,
    first_update: bool = False,
) -> FilterResult:
    """Filters ``K`` objects that share the detections of every frame by soft associations.

    With one-hot associations both layouts are ``K`` textbook filters of constant velocity, or of a random walk. With
    soft ones they differ. "decoupled" lets a detection with share ``p`` count with the ``p``-th power of its
    likelihood (mean field); it costs ``O(K N)`` per frame. "joint" observes the ``p``-weighted sum of the objects
    (Burke and Ramamoorthy 2021), which correlates them; it costs ``O(K^3)``, and the shares of a detection must sum
    to 1, or its place would depend on the origin.

    Half precision is computed in float32. In float32 keep ``initial_variance / measurement_noise`` below 1e5.

    Args:
        points: ``(B, T, N, d)`` measured points.
        assoc: ``(B, T, K, N)`` share of detection ``n`` in object ``k``.
        initial: ``(B, K, d)`` positions before frame 0; velocities begin at 0.
        process_noise: ``(B, K, S)`` variance that position (and velocity) gain per frame. ``S = 1`` is a random walk,
            ``S = 2`` constant velocity.
        measurement_noise: variance of a measured coordinate, more than 0: ``(B, K)`` by object in the layout
            "decoupled", ``(B, T, N)`` by detection in the layout "joint".
        initial_variance: ``(B, K, S)`` before frame 0.
        dt: time between frames.
        layout: "decoupled" or "joint".
        mask: ``(B, T, N)`` bool, False for detections that do not exist.
        first_update: use the points of frame 0; ``initial`` is often taken from them already.

    Raises:
        ValueError: a shape does not fit, or a covariance in the layout "joint" is not positive definite.

    >>> one = torch.ones(1, 1)
    >>> points = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1)
    >>> result = kalman_filter(points, torch.ones(1, 3, 1, 1), points[:, 0], measurement_noise=one,
    ...     process_noise=torch.tensor([[[0.0, 0.01]]]), initial_variance=torch.ones(1, 1, 2))
    >>> [round(value, 3) for value in result.mean[0, :, 0, 0, 0].tolist()]
    [0.0, 0.667, 1.668]
    """
    _check(points, assoc, initial, process_noise, measurement_noise, initial_variance, layout, mask)
    dtype = torch.promote_types(points.dtype, torch.float32)
    points, assoc, initial = points.to(dtype), assoc.to(dtype), initial.to(dtype)
    noise = process_noise.to(dtype), measurement_noise.to(dtype), initial_variance.to(dtype)
    fits = layout == "decoupled" and assoc.numel() and 0 < points.shape[-1] <= fused.COORDINATES
    if use_kernels(points) and fits:
        moments: fused.Four = fused.forward(points, assoc, mask, initial, *noise, float(dt), first_update)
        return FilterResult(*moments, dt)
    if mask is not None:
        assoc = assoc.masked_fill(~mask[:, :, None], 0)
        points = points.masked_fill(~mask[..., None], 0)
    # Sums over many frames: not in the half precision of an outer autocast.
    with torch.autocast(points.device.type, enabled=False):
        if layout == "joint":
            return FilterResult(*joint_kalman.run(points, assoc, initial, *noise, dt, mask, first_update), dt)
        return FilterResult(*_run_decoupled(points, assoc, initial, *noise, dt, first_update), dt)


def rts_smoother(result: FilterResult) -> SmootherResult:
    """The states given all frames (Rauch, Tung and Striebel 1965).

    Raises:
        ValueError: a covariance in the layout "joint" is not positive definite.

    >>> one = torch.ones(1, 1)
    >>> points = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 3, 1, 1)
    >>> result = kalman_filter(points, torch.ones(1, 3, 1, 1), points[:, 0], measurement_noise=one,
    ...     process_noise=torch.tensor([[[0.0, 0.01]]]), initial_variance=torch.ones(1, 1, 2))
    >>> [round(value, 3) for value in rts_smoother(result).mean[0, :, 0, 0, 0].tolist()]
    [0.333, 0.999, 1.668]
    """
    batch, frames, objects, size, coordinates = result.mean.shape
    joint = result.cov.ndim == 4
    if use_kernels(result.mean) and not joint and result.mean.numel() and coordinates <= fused.COORDINATES:
        moments = result.mean, result.cov, result.predicted_mean, result.predicted_cov
        return SmootherResult(*fused_smoother.forward(*moments, float(result.dt)))
    mean, predicted = result.mean, result.predicted_mean
    if joint:  # one state: all positions, then all velocities
        mean, predicted = (moment.transpose(2, 3).flatten(2, 3) for moment in (mean, predicted))
    with torch.autocast(mean.device.type, enabled=False):
        after, before = result.cov[:, :-1], result.predicted_cov[:, 1:]
        if joint:
            step = torch.kron(
                _transition(size, result.dt, mean), torch.eye(objects, dtype=mean.dtype, device=mean.device)
            )
            gains = torch.cholesky_solve(step @ after, joint_kalman.cholesky(before)).transpose(-1, -2)
        else:
            gains = _smoothing_gains(after, before, result.dt)
        # What later frames change of the moments of a frame: all that they change of the next frame's prediction.
        learned = gains, (mean - predicted)[:, 1:], (result.cov - result.predicted_cov)[:, 1:]
        shift, spread = (each.new_zeros(each[:, 0].flatten(0, -3).shape) for each in (mean, result.cov))
        shifts, spreads = [shift], [spread]
        for gain, own_shift, own_spread in reversed(list(zip(*map(_by_frame, learned), strict=True))):
            shift = torch.bmm(gain, shift + own_shift)
            spread = torch.bmm(torch.bmm(gain, spread + own_spread), gain.transpose(-1, -2))
            shifts.append(shift)
            spreads.append(spread)
        smoothed = mean + _all_frames(shifts[::-1], mean)
        cov = result.cov + _all_frames(spreads[::-1], result.cov)
        cov = (cov + cov.transpose(-1, -2)) / 2
    if joint:
        smoothed = smoothed.view(batch, frames, size, objects, coordinates).transpose(2, 3)
    return SmootherResult(smoothed, cov)


def observation_loglik(
    points: Tensor,
    assoc: Tensor,
    mean: Tensor,
    cov: Tensor,
    measurement_noise: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Log-density of the detections of every frame, given moments of the states.

    With predicted moments, the sum over frames is the log marginal likelihood of a layout "joint" (prediction-error
    decomposition). In the layout "decoupled" the log-density of a detection under every object is weighted with its
    share; what has no share counts nothing.

    Args:
        points: ``(B, T, N, d)``.
        assoc: ``(B, T, K, N)``.
        mean: ``(B, T, K, S, d)`` of a :class:`FilterResult` or :class:`SmootherResult`.
        cov: covariance of the same; its shape tells the layout.
        measurement_noise: as in :func:`kalman_filter`.
        mask: ``(B, T, N)`` bool, False for detections that do not exist.

    Returns:
        ``(B, T)`` in nats, summed over detections and coordinates.

    >>> zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    >>> value = observation_loglik(zero, one, zero[..., None], zero[..., None], torch.ones(1, 1))
    >>> round(value.item(), 4)  # of the standard normal at 0
    -0.9189
    """
    dtype = mean.dtype
    points, assoc, noise = points.to(dtype), assoc.to(dtype), measurement_noise.to(dtype)
    if mask is not None:
        assoc = assoc.masked_fill(~mask[:, :, None], 0)
        points = points.masked_fill(~mask[..., None], 0)
    coordinates, position = points.shape[-1], mean[..., 0, :]
    with torch.autocast(mean.device.type, enabled=False):
        if cov.ndim == 4:
            noise = joint_kalman.measured_noise(noise, mask)
            factor = joint_kalman.cholesky(joint_kalman.observe(assoc, cov, noise)[1])
            residual = points - assoc.transpose(-1, -2) @ position
            white = torch.linalg.solve_triangular(factor, residual, upper=False)
            logdet = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            count = points.shape[2] if mask is None else mask.sum(-1, dtype=dtype)
            return -(white.square().sum((-1, -2)) + coordinates * (logdet + count * LOG_2PI)) / 2
        variance = cov[..., 0, 0] + noise[:, None]
        # Coordinates before pairs: a last dimension of two takes longer.
        square = (position.transpose(-1, -2)[..., None] - points.transpose(-1, -2)[..., None, :]).square().sum(2)
        weighted = (assoc * square).sum(-1) / variance
        return -(weighted + coordinates * assoc.sum(-1) * (variance.log() + LOG_2PI)).sum(-1) / 2


def _transition(size: int, dt: float, like: Tensor) -> Tensor:
    """How position and velocity move in a frame; a position alone does not."""
    step = torch.eye(size, dtype=like.dtype, device=like.device)
    if size == 2:
        step[0, 1] = dt
    return step


def _run_decoupled(
    points: Tensor,
    assoc: Tensor,
    initial: Tensor,
    process_noise: Tensor,
    measurement_noise: Tensor,
    initial_variance: Tensor,
    dt: float,
    first_update: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One filter per object, with covariance ``[[a, b], [b, c]]`` in closed form."""
    moving = process_noise.shape[-1] == 2
    # Objects last: where the last dimension is a pair, calls take longer.
    noise, (a, *rest) = (each.movedim(-1, 0).contiguous().unbind(0) for each in (process_noise, initial_variance))
    b, c = torch.zeros_like(a), (rest or [a])[0]
    position = initial.movedim(-1, 0).contiguous()
    velocity, one = torch.zeros_like(position), torch.ones_like(a)
    # By the noise of a measurement, as only the ratios to it are needed.
    masses = (assoc.sum(-1) / measurement_noise[:, None]).unbind(1)
    sums = points.transpose(-1, -2) @ assoc.transpose(-1, -2) / measurement_noise[:, None, None]
    means, covs, predicted_means, predicted_covs = [], [], [], []
    for frame, (share, total) in enumerate(zip(masses, sums.permute(1, 2, 0, 3).unbind(0), strict=True)):
        if frame:
            if moving:
                position = torch.add(position, velocity, alpha=dt)
                moved = torch.add(b, c, alpha=dt)
                a, b, c = torch.add(a, b + moved, alpha=dt), moved, c + noise[1]
            a = a + noise[0]
        predicted_means += [position, velocity]
        predicted_covs += [a, b, b, c]
        if frame or first_update:
            # With s = share * r, a r / (s a + r) is a - s a^2 / (s a + r) without a difference of near numbers.
            left = torch.addcmul(one, share, a).reciprocal()
            near, far = a * left, b * left
            a, b, c = near, far, torch.addcmul(c, share * b, far, value=-1)
            residual = torch.addcmul(total, share, position, value=-1)
            position, velocity = torch.addcmul(position, near, residual), torch.addcmul(velocity, far, residual)
        means += [position, velocity]
        covs += [a, b, b, c]
    size = 1 + moving
    mean, predicted_mean = (_by_object(each, points)[..., :size, :] for each in (means, predicted_means))
    cov, predicted_cov = (_by_object(each, points)[..., :size, :size] for each in (covs, predicted_covs))
    return mean, cov, predicted_mean, predicted_cov


def _by_object(rows: Sequence[Tensor], points: Tensor) -> Tensor:
    """Rows or numbers of what two rows have, frame after frame, each ``(..., B, K)``, to ``(B, T, K, 2, columns)``."""
    stacked = torch.stack(tuple(rows))
    frames, shape = points.shape[1], stacked.shape[-2:]
    return stacked.view(frames, 2, stacked.shape[:-2].numel() // (2 * frames), *shape).permute(3, 0, 4, 1, 2)


def _smoothing_gains(cov: Tensor, predicted_cov: Tensor, dt: float) -> Tensor:
    """``C F' inv(S)`` of independent objects, from covariances after a frame and before the next, written out."""
    known = predicted_cov[..., :1, :1]
    ahead = known.masked_fill(known <= 0, torch.inf).reciprocal()
    if cov.shape[-1] == 1:
        return cov * ahead
    slope = predicted_cov[..., 1:, :1] * ahead
    rest = predicted_cov[..., 1:, 1:] - slope * predicted_cov[..., :1, 1:]
    # Nothing is left where the velocity is known from the position.
    rest = rest.masked_fill(rest <= 0, torch.inf)
    near, far = torch.add(cov[..., :1], cov[..., 1:], alpha=dt), cov[..., 1:]
    far = (far - slope * near) / rest
    return torch.cat([near * ahead - slope * far, far], -1)


def _by_frame(matrices: Tensor) -> tuple[Tensor, ...]:
    """``(B, T, ..., n, m)`` to ``T`` times ``(B * ..., n, m)``."""
    return matrices.transpose(0, 1).flatten(1, -3).unbind(0)


def _all_frames(matrices: Sequence[Tensor], like: Tensor) -> Tensor:
    """Back from :func:`_by_frame`, to the shape of ``like``."""
    return torch.stack(tuple(matrices)).view(like.transpose(0, 1).shape).transpose(0, 1)


def _check(
    points: Tensor,
    assoc: Tensor,
    initial: Tensor,
    process_noise: Tensor,
    measurement_noise: Tensor,
    initial_variance: Tensor,
    layout: str,
    mask: Tensor | None,
) -> None:
    if layout not in ("decoupled", "joint"):
        raise ValueError(f"layout must be decoupled or joint, got {layout!r}")
    if points.ndim != 4 or not points.shape[1]:
        raise ValueError(f"points must have shape (B, T, N, d) with at least one frame, got {tuple(points.shape)}")
    batch, frames, detections, coordinates = points.shape
    if assoc.ndim != 4 or (batch, frames, detections) != (*assoc.shape[:2], assoc.shape[3]):
        raise ValueError(f"assoc must have shape {(batch, frames, 'K', detections)}, got {tuple(assoc.shape)}")
    objects = assoc.shape[2]
    size = process_noise.shape[-1] if process_noise.ndim == 3 else 0
    if size not in (1, 2):
        raise ValueError(f"process_noise must have shape (B, K, 1 or 2), got {tuple(process_noise.shape)}")
    by_layout = (batch, objects) if layout == "decoupled" else (batch, frames, detections)
    for name, value, shape in (
        ("initial", initial, (batch, objects, coordinates)),
        ("process_noise", process_noise, (batch, objects, size)),
        ("measurement_noise", measurement_noise, by_layout),
        ("initial_variance", initial_variance, (batch, objects, size)),
        ("mask", mask, (batch, frames, detections)),
    ):
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
