"""Kalman filter with all objects in one state, which soft associations correlate."""

from __future__ import annotations

import torch
from torch import Tensor


def run(
    points: Tensor,
    assoc: Tensor,
    initial: Tensor,
    process_noise: Tensor,
    measurement_noise: Tensor,
    initial_variance: Tensor,
    dt: float,
    mask: Tensor | None,
    first_update: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the four moments of a ``FilterResult`` in the layout "joint"; see :func:`mot_core.ops.kalman_filter`."""
    objects, size = initial.shape[1], process_noise.shape[-1]
    noise = measured_noise(measurement_noise, mask)
    added = torch.diag_embed(process_noise.transpose(-1, -2).flatten(1))
    mean = torch.cat([initial] + [torch.zeros_like(initial)] * (size - 1), 1)
    cov = torch.diag_embed(initial_variance.transpose(-1, -2).flatten(1))
    after, before = [], []
    for frame in range(points.shape[1]):
        if frame:
            mean, cov = _move(mean, cov, objects, dt)
            cov = cov + added
        before.append((mean, cov))
        if frame or first_update:
            mean, cov = _update(mean, cov, points[:, frame], assoc[:, frame], noise[:, frame])
        after.append((mean, cov))
    (means, covs), (predicted_means, predicted_covs) = (
        [torch.stack(moments, 1) for moments in zip(*states, strict=True)] for states in (after, before)
    )
    shape = (*means.shape[:2], size, objects, means.shape[-1])
    return means.view(shape).transpose(2, 3), covs, predicted_means.view(shape).transpose(2, 3), predicted_covs


def measured_noise(noise: Tensor, mask: Tensor | None) -> Tensor:
    """Return the measurement noise with 1 for masked detections, which contributes nothing to a log-determinant."""
    return noise if mask is None else noise.masked_fill(~mask, 1)


def observe(assoc: Tensor, cov: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the covariance of observation and state ``(..., N, S * K)``, and of the innovation ``(..., N, N)``."""
    observed = assoc.transpose(-1, -2)
    objects = assoc.shape[-2]
    cross = observed @ cov[..., :objects, :]
    return cross, cross[..., :objects] @ assoc + torch.diag_embed(noise)


def cholesky(matrix: Tensor) -> Tensor:
    """Return the lower Cholesky factor, after adding jitter to the diagonal if rounding made the matrix indefinite.

    Raises:
        ValueError: If the matrix is not positive definite.
    """
    if torch.compiler.is_compiling():  # a compiled graph cannot branch on values
        return torch.linalg.cholesky(matrix)
    factor, info = torch.linalg.cholesky_ex(matrix)
    for jitter in (1e-6, 1e-5, 1e-4):
        if not info.any():
            return factor
        scale = matrix.detach().diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)
        broken = (info != 0)[..., None]
        factor, info = torch.linalg.cholesky_ex(
            matrix + torch.diag_embed((jitter * scale * broken).expand(matrix.shape[:-1]))
        )
    if info.any():
        raise ValueError(
            "covariance: expected a positive definite matrix, got an indefinite one; choose a smaller ratio of "
            "initial_variance to measurement_noise, or float64"
        )
    return factor


def _move(mean: Tensor, cov: Tensor, objects: int, dt: float) -> tuple[Tensor, Tensor]:
    """Predict by one frame: positions move by their velocities; without velocities nothing moves."""
    if mean.shape[1] == objects:
        return mean, cov
    position, velocity = mean[:, :objects], mean[:, objects:]
    mean = torch.cat([position + dt * velocity, velocity], 1)
    upper, lower = cov[:, :objects], cov[:, objects:]
    cov = torch.cat([upper + dt * lower, lower], 1)
    left, right = cov[..., :objects], cov[..., objects:]
    return mean, torch.cat([left + dt * right, right], 2)


def _update(mean: Tensor, cov: Tensor, points: Tensor, assoc: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the measurements in Joseph form, which keeps covariances symmetric and positive in float32."""
    objects = assoc.shape[1]
    cross, innovation_cov = observe(assoc, cov, noise)
    gain = torch.cholesky_solve(cross, cholesky(innovation_cov)).transpose(-1, -2)
    mean = mean + gain @ (points - assoc.transpose(-1, -2) @ mean[:, :objects])
    keep = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device).expand_as(cov).clone()
    keep[..., :objects] -= gain @ assoc.transpose(-1, -2)
    cov = keep @ cov @ keep.transpose(-1, -2) + (gain * noise[:, None]) @ gain.transpose(-1, -2)
    return mean, (cov + cov.transpose(-1, -2)) / 2
