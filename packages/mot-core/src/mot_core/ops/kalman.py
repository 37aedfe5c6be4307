"""Batched Kalman filter and Rauch-Tung-Striebel smoother of many points with soft associations."""

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
    """Moments of the filtered states. All ``d`` coordinates share one covariance.

    The state size ``S`` is 2 for position and velocity, or 1 for position only. In the layout "decoupled" a covariance
    has shape ``(B, T, K, S, S)``: objects are independent. In the layout "joint" it has shape
    ``(B, T, S * K, S * K)``: the positions of all objects, then their velocities.

    Attributes:
        mean: Means after the update of each frame, of shape ``(B, T, K, S, d)``.
        cov: Covariances after the update of each frame.
        predicted_mean: Means before the update, of shape ``(B, T, K, S, d)``; in frame 0 the initial state.
        predicted_cov: Covariances before the update.
        dt: Time between frames.
    """

    mean: Tensor
    cov: Tensor
    predicted_mean: Tensor
    predicted_cov: Tensor
    dt: float


@dataclass(frozen=True, eq=False)
class SmootherResult:
    """Moments of the states given all frames, with the shapes of :class:`FilterResult`.

    Attributes:
        mean: Means of shape ``(B, T, K, S, d)``.
        cov: Covariances.
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
    r"""Filter ``K`` objects that share the detections of every frame through soft associations.

    Every object follows a constant-velocity model or a random walk, the linear-Gaussian state space model
    ``x_t = F x_{t-1} + w``, ``w ~ N(0, Q)`` with ``F = [[1, dt], [0, 1]]`` (or 1) and ``Q`` the diagonal matrix of
    ``process_noise``. Prediction and update are those of the discrete Kalman filter (Kalman 1960):

    .. math::

        m^- = F m, \quad P^- = F P F^T + Q, \quad
        K = P^- H^T (H P^- H^T + R)^{-1}, \quad
        m = m^- + K (z - H m^-), \quad P = (I - K H) P^-

    With one-hot associations, both layouts equal ``K`` separate textbook filters. With soft associations ``p_kn`` they
    differ:

    * "decoupled" raises the likelihood of a detection to the power of its share (mean field). Object ``k`` observes
      the share-weighted mean of the detections, with the noise divided by the sum of shares:
      ``z = sum_n p_kn z_n / s``, ``R = r_k / s``, ``s = sum_n p_kn``. Cost ``O(K N)`` per frame.
    * "joint" observes ``z_n = sum_k p_kn x_k + noise`` in one state of all objects (Burke and Ramamoorthy 2021,
      arXiv:2105.00369), which correlates them. Cost ``O(K^3)`` per frame. The shares of a detection must sum to 1;
      otherwise the result depends on the origin of the coordinates. Covariances are updated in Joseph form.

    Half precision is computed in float32. In float32 keep ``initial_variance / measurement_noise`` below 1e5.

    Args:
        points: Measured points of shape ``(B, T, N, d)``.
        assoc: Share of detection ``n`` in object ``k``, of shape ``(B, T, K, N)``.
        initial: Positions before frame 0, of shape ``(B, K, d)``; initial velocities are 0.
        process_noise: Variance added to position (and velocity) per frame, of shape ``(B, K, S)``. ``S = 1`` is a
            random walk, ``S = 2`` constant velocity. Higher values follow turns faster but smooth less.
        measurement_noise: Positive variance of a measured coordinate: ``(B, K)`` per object in the layout "decoupled",
            ``(B, T, N)`` per detection in the layout "joint". Higher values trust detections less.
        initial_variance: Variances before frame 0, of shape ``(B, K, S)``.
        dt: Time between frames.
        layout: "decoupled" or "joint".
        mask: Boolean mask of shape ``(B, T, N)``, False for padded detections.
        first_update: Whether the points of frame 0 update the state; ``initial`` is often computed from them already.

    Returns:
        Filtered and predicted moments of every frame.

    Raises:
        ValueError: If the shapes do not match, or a covariance in the layout "joint" is not positive definite.

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
    # Sums over many frames need more than the half precision of an outer autocast.
    with torch.autocast(points.device.type, enabled=False):
        if layout == "joint":
            return FilterResult(*joint_kalman.run(points, assoc, initial, *noise, dt, mask, first_update), dt)
        return FilterResult(*_run_decoupled(points, assoc, initial, *noise, dt, first_update), dt)


def rts_smoother(result: FilterResult) -> SmootherResult:
    r"""Smooth the states of a filter given all frames (Rauch, Tung and Striebel 1965).

    Backward recursion from the last frame, with ``F`` of :func:`kalman_filter`; :math:`m, P` are the filtered and
    :math:`m^-, P^-` the predicted moments:

    .. math::

        G_t = P_t F^T (P^-_{t+1})^{-1}, \quad
        m^s_t = m_t + G_t (m^s_{t+1} - m^-_{t+1}), \quad
        P^s_t = P_t + G_t (P^s_{t+1} - P^-_{t+1}) G_t^T

    Args:
        result: Moments returned by :func:`kalman_filter`.

    Returns:
        Smoothed moments of every frame.

    Raises:
        ValueError: If a covariance in the layout "joint" is not positive definite.

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
        # Later frames change the moments of a frame by G times their change of the next frame's prediction.
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

    In the layout "joint" with predicted moments, the sum over frames is the log marginal likelihood (prediction error
    decomposition), with the innovation covariance ``C_t`` of the ``N_t`` detections::

        l_t = -1/2 sum over coordinates of (e_t' C_t^-1 e_t + log det C_t + N_t log 2 pi),  e_t = z_t - A' m_t

    In the layout "decoupled", the log-density of every detection under every object is weighted with its share::

        l_t = -1/2 sum over k, n of p_kn (|z_n - m_k|^2 / v_k + d (log v_k + log 2 pi)),  v_k = P_k + r_k

    Args:
        points: Measured points of shape ``(B, T, N, d)``.
        assoc: Shares of shape ``(B, T, K, N)``.
        mean: Means of a :class:`FilterResult` or :class:`SmootherResult`, of shape ``(B, T, K, S, d)``.
        cov: Covariances of the same result; the shape determines the layout.
        measurement_noise: Variances as in :func:`kalman_filter`.
        mask: Boolean mask of shape ``(B, T, N)``, False for padded detections.

    Returns:
        Log-densities in nats of shape ``(B, T)``, summed over detections and coordinates.

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
        # Coordinates before pairs, because a last dimension of size two is slower.
        square = (position.transpose(-1, -2)[..., None] - points.transpose(-1, -2)[..., None, :]).square().sum(2)
        weighted = (assoc * square).sum(-1) / variance
        return -(weighted + coordinates * assoc.sum(-1) * (variance.log() + LOG_2PI)).sum(-1) / 2


def _transition(size: int, dt: float, like: Tensor) -> Tensor:
    """Return the transition matrix of one frame: position and velocity, or a static position."""
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
    """Run one filter per object, with the covariance ``[[a, b], [b, c]]`` in closed form."""
    moving = process_noise.shape[-1] == 2
    # Objects last, because calls with a last dimension of size two are slower.
    noise, (a, *rest) = (each.movedim(-1, 0).contiguous().unbind(0) for each in (process_noise, initial_variance))
    b, c = torch.zeros_like(a), (rest or [a])[0]
    position = initial.movedim(-1, 0).contiguous()
    velocity, one = torch.zeros_like(position), torch.ones_like(a)
    # Divided by the measurement noise, because only ratios to it are needed.
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
            # With s = share * r, a r / (s a + r) equals a - s a^2 / (s a + r) without a difference of close numbers.
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
    """Arrange the ``(..., B, K)`` entries of two rows per frame, frame after frame, as ``(B, T, K, 2, columns)``."""
    stacked = torch.stack(tuple(rows))
    frames, shape = points.shape[1], stacked.shape[-2:]
    return stacked.view(frames, 2, stacked.shape[:-2].numel() // (2 * frames), *shape).permute(3, 0, 4, 1, 2)


def _smoothing_gains(cov: Tensor, predicted_cov: Tensor, dt: float) -> Tensor:
    """Return ``C F' P^-1`` of independent objects in closed form, from filtered and next predicted covariances."""
    known = predicted_cov[..., :1, :1]
    ahead = known.masked_fill(known <= 0, torch.inf).reciprocal()
    if cov.shape[-1] == 1:
        return cov * ahead
    slope = predicted_cov[..., 1:, :1] * ahead
    rest = predicted_cov[..., 1:, 1:] - slope * predicted_cov[..., :1, 1:]
    # The remaining variance is 0 where the position determines the velocity.
    rest = rest.masked_fill(rest <= 0, torch.inf)
    near, far = torch.add(cov[..., :1], cov[..., 1:], alpha=dt), cov[..., 1:]
    far = (far - slope * near) / rest
    return torch.cat([near * ahead - slope * far, far], -1)


def _by_frame(matrices: Tensor) -> tuple[Tensor, ...]:
    """Split ``(B, T, ..., n, m)`` into ``T`` tensors ``(B * ..., n, m)``."""
    return matrices.transpose(0, 1).flatten(1, -3).unbind(0)


def _all_frames(matrices: Sequence[Tensor], like: Tensor) -> Tensor:
    """Invert :func:`_by_frame`, to the shape of ``like``."""
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
