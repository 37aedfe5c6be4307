"""Kalman filter of independent objects: a program instance processes all frames of a block of objects.

An object has the covariance ``[[a, b], [b, c]]`` of position and velocity, shared by its ``D`` coordinates, or only
``a`` in a random walk (``MOVING`` is 0). With mass ``s = sum_n p_n`` and weighted points ``y = sum_n p_n z_n``, the
textbook equations of a frame are::

    predict:  p += dt v,   a += 2 dt b + dt^2 c + q,   b += dt c,   c += q_v
    update:   S = s a + r
              p += a / S (y - s p),   v += b / S (y - s p)
              a = a r / S,   b = b r / S,   c -= s b^2 / S

The backward pass runs the adjoint of these equations from the last frame to the first.
"""

import triton
import triton.language as tl


@triton.jit
def _place(at, k, d, size, coordinates, ROW: tl.constexpr):
    """Return the offsets of row ``ROW`` of the means ``(K, S, D)``; ``at`` is the index of the frame's first object."""
    return ((at + k)[:, None] * size + ROW) * coordinates + d[None, :]


@triton.jit
def _load(mean, cov, at, k, d, objects, coordinates, FILL: tl.constexpr, MOVING: tl.constexpr, PRECISION: tl.constexpr):
    """Load the moments of a frame, or their gradients: ``p``, ``v``, ``a``, the sum of both ``b``, and ``c``.

    Without velocity, ``c`` is ``FILL``.
    """
    inside = (k < objects)[:, None] & (d < coordinates)[None, :]
    p = tl.load(mean + _place(at, k, d, 1 + MOVING, coordinates, 0), mask=inside, other=0).to(PRECISION)
    v = tl.zeros_like(p)
    if MOVING:
        v = tl.load(mean + _place(at, k, d, 2, coordinates, 1), mask=inside, other=0).to(PRECISION)
    first = cov + (at + k) * ((1 + MOVING) * (1 + MOVING))
    a = tl.load(first, mask=k < objects, other=1).to(PRECISION)
    b = tl.zeros_like(a)
    c = tl.zeros_like(a) + FILL
    if MOVING:
        b = tl.load(first + 1, mask=k < objects, other=0).to(PRECISION)
        b += tl.load(first + 2, mask=k < objects, other=0).to(PRECISION)
        c = tl.load(first + 3, mask=k < objects, other=1).to(PRECISION)
    return p, v, a, b, c


@triton.jit
def _store(mean, cov, at, k, d, objects, coordinates, p, v, a, b, c, MOVING: tl.constexpr):
    """Store the moments of a frame."""
    inside = (k < objects)[:, None] & (d < coordinates)[None, :]
    tl.store(mean + _place(at, k, d, 1 + MOVING, coordinates, 0), p, mask=inside)
    first = cov + (at + k) * ((1 + MOVING) * (1 + MOVING))
    tl.store(first, a, mask=k < objects)
    if MOVING:
        tl.store(mean + _place(at, k, d, 2, coordinates, 1), v, mask=inside)
        tl.store(first + 1, b, mask=k < objects)
        tl.store(first + 2, b, mask=k < objects)
        tl.store(first + 3, c, mask=k < objects)


@triton.jit
def _seen(mask, at, n, detections, used, MASK: tl.constexpr):
    """Return the mask of detections of a frame that exist and are used."""
    seen = (n < detections) & used
    if MASK:
        seen = seen & (tl.load(mask + at * detections + n, mask=seen, other=0) != 0)
    return seen


@triton.jit
def _observe(
    points,
    assoc,
    mask,
    at,
    k,
    d,
    objects,
    detections,
    coordinates,
    used,
    MASK: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Return the sum of shares ``(K,)`` and the share-weighted sum of points ``(K, D)`` of every object in a frame."""
    mass = tl.zeros([BLOCK_K, BLOCK_N], PRECISION)
    sums = tl.zeros([BLOCK_K, BLOCK_N, BLOCK_D], PRECISION)
    for first in range(0, detections, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        seen = _seen(mask, at, n, detections, used, MASK)
        place = assoc + (at * objects + k[:, None]) * detections + n[None, :]
        share = tl.load(place, mask=(k < objects)[:, None] & seen[None, :], other=0).to(PRECISION)
        place = points + (at * detections + n[:, None]) * coordinates + d[None, :]
        point = tl.load(place, mask=seen[:, None] & (d < coordinates)[None, :], other=0).to(PRECISION)
        mass += share
        sums += share[:, :, None] * point[None, :, :]
    # Summed once at the end: Triton 3.7 fails to compile a sum in a loop if its result has several uses.
    return tl.sum(mass, 1), tl.sum(sums, 1)


@triton.jit
def filter_forward(
    points,
    assoc,
    mask,
    initial,
    process_noise,
    measurement_noise,
    initial_variance,
    mean,
    cov,
    predicted_mean,
    predicted_cov,
    frames,
    objects,
    detections,
    coordinates,
    DT: tl.constexpr,
    FIRST: tl.constexpr,
    MASK: tl.constexpr,
    MOVING: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Compute the four moments of every frame for ``BLOCK_K`` objects of one batch element, frame by frame.

    Equations as in the docstring of the module. Detections are used from frame ``FIRST`` on; before that, ``s = 0``
    and the update is the identity.
    """
    batch = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    real, own = k < objects, batch * objects + k
    inside = real[:, None] & (d < coordinates)[None, :]
    p = tl.load(initial + own[:, None] * coordinates + d[None, :], mask=inside, other=0)
    v = tl.zeros_like(p)
    r = tl.load(measurement_noise + own, mask=real, other=1)
    a = tl.load(initial_variance + own * (1 + MOVING), mask=real, other=1)
    b = tl.zeros_like(a)
    c = tl.load(initial_variance + own * (1 + MOVING) + MOVING, mask=real, other=1)
    q = tl.load(process_noise + own * (1 + MOVING), mask=real, other=0)
    q_velocity = tl.zeros_like(q)
    if MOVING:
        q_velocity = tl.load(process_noise + own * 2 + 1, mask=real, other=0)
    for frame in range(frames):
        at = batch * frames + frame
        moved = tl.where(frame > 0, 1.0, 0.0)  # no prediction before frame 0
        if MOVING:
            p += moved * (DT * v)
            a += moved * (2 * DT * b + DT * DT * c)
            b += moved * (DT * c)
            c += moved * q_velocity
        a += moved * q
        _store(predicted_mean, predicted_cov, at * objects, k, d, objects, coordinates, p, v, a, b, c, MOVING)
        mass, sums = _observe(
            points, assoc, mask, at, k, d, objects, detections, coordinates, frame >= FIRST,
            MASK, PRECISION, BLOCK_K, BLOCK_D, BLOCK_N,
        )  # fmt: skip
        scale = mass * a + r
        residual = sums - mass[:, None] * p
        p += (a / scale)[:, None] * residual
        v += (b / scale)[:, None] * residual
        c -= mass * b * b / scale
        a = a * r / scale
        b = b * r / scale
        _store(mean, cov, at * objects, k, d, objects, coordinates, p, v, a, b, c, MOVING)


@triton.jit
def filter_backward(
    mean_gradient,
    cov_gradient,
    predicted_mean_gradient,
    predicted_cov_gradient,
    points,
    assoc,
    mask,
    measurement_noise,
    predicted_mean,
    predicted_cov,
    assoc_gradient,
    sums_gradient,
    initial_gradient,
    process_gradient,
    noise_gradient,
    variance_gradient,
    frames,
    objects,
    detections,
    coordinates,
    DT: tl.constexpr,
    FIRST: tl.constexpr,
    MASK: tl.constexpr,
    MOVING: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Compute the gradients of all inputs except the points for ``BLOCK_K`` objects, from the last frame to the first.

    Adjoint of the equations in the docstring of the module. The gradient of the points follows from
    ``sums_gradient (B, T, K, D)``, the gradient of ``y``: ``dL/dz_n = sum over k of p_kn dL/dy_k``; that of a share is
    ``dL/dp_kn = dL/ds_k + <dL/dy_k, z_n>``.
    """
    batch = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    real, own = k < objects, batch * objects + k
    inside = real[:, None] & (d < coordinates)[None, :]
    r = tl.load(measurement_noise + own, mask=real, other=1)
    by_p = tl.zeros([BLOCK_K, BLOCK_D], PRECISION)
    by_v = tl.zeros([BLOCK_K, BLOCK_D], PRECISION)
    by_a = tl.zeros([BLOCK_K], PRECISION)
    by_b, by_c, by_r, by_q, by_q_velocity = by_a, by_a, by_a, by_a, by_a
    for back in range(frames):
        frame = frames - 1 - back
        at = batch * frames + frame
        used = frame >= FIRST
        above_p, above_v, above_a, above_b, above_c = _load(
            mean_gradient, cov_gradient, at * objects, k, d, objects, coordinates, 0, MOVING, PRECISION
        )
        by_p += above_p
        by_v += above_v
        by_a += above_a
        by_b += above_b
        by_c += above_c

        p, _, a, b, _ = _load(
            predicted_mean, predicted_cov, at * objects, k, d, objects, coordinates, 0, MOVING, PRECISION
        )
        b = b / 2  # _load returns the sum of both off-diagonal entries
        mass, sums = _observe(
            points, assoc, mask, at, k, d, objects, detections, coordinates, used,
            MASK, PRECISION, BLOCK_K, BLOCK_D, BLOCK_N,
        )  # fmt: skip
        scale = mass * a + r
        residual = sums - mass[:, None] * p
        gain, gain_velocity = a / scale, b / scale
        by_sums = gain[:, None] * by_p + gain_velocity[:, None] * by_v
        by_gain = tl.sum(by_p * residual, 1)
        by_gain_velocity = tl.sum(by_v * residual, 1)
        by_mass = -tl.sum(p * by_sums, 1) - by_c * b * b / scale
        by_scale = -(by_gain * a + by_gain_velocity * b + (by_a * a + by_b * b) * r - by_c * mass * b * b) / (
            scale * scale
        )
        by_p -= mass[:, None] * by_sums
        by_r += (by_a * a + by_b * b) / scale + by_scale
        by_b = (by_gain_velocity + by_b * r - 2 * mass * b * by_c) / scale
        by_a = (by_gain + by_a * r) / scale + by_scale * mass
        by_mass += by_scale * a
        for first in range(0, detections, BLOCK_N):
            n = first + tl.arange(0, BLOCK_N)
            seen = _seen(mask, at, n, detections, used, MASK)
            place = points + (at * detections + n[:, None]) * coordinates + d[None, :]
            point = tl.load(place, mask=seen[:, None] & (d < coordinates)[None, :], other=0).to(PRECISION)
            by_share = by_mass[:, None] + tl.sum(by_sums[:, None, :] * point[None, :, :], 2)
            place = assoc_gradient + (at * objects + k[:, None]) * detections + n[None, :]
            tl.store(place, tl.where(seen[None, :], by_share, 0), mask=real[:, None] & (n < detections)[None, :])
        by_sums = tl.where(used, by_sums, 0)
        tl.store(sums_gradient + (at * objects + k[:, None]) * coordinates + d[None, :], by_sums, mask=inside)

        above_p, above_v, above_a, above_b, above_c = _load(
            predicted_mean_gradient,
            predicted_cov_gradient,
            at * objects,
            k,
            d,
            objects,
            coordinates,
            0,
            MOVING,
            PRECISION,
        )
        by_p += above_p
        by_v += above_v
        by_a += above_a
        by_b += above_b
        by_c += above_c
        moved = tl.where(frame > 0, 1.0, 0.0)
        by_q += moved * by_a
        if MOVING:
            by_q_velocity += moved * by_c
            by_v += moved * (DT * by_p)
            by_c += moved * (DT * DT * by_a + DT * by_b)
            by_b += moved * (2 * DT * by_a)
    tl.store(initial_gradient + own[:, None] * coordinates + d[None, :], by_p, mask=inside)
    tl.store(noise_gradient + own, by_r, mask=real)
    tl.store(variance_gradient + own * (1 + MOVING), by_a, mask=real)
    tl.store(process_gradient + own * (1 + MOVING), by_q, mask=real)
    if MOVING:
        tl.store(variance_gradient + own * 2 + 1, by_c, mask=real)
        tl.store(process_gradient + own * 2 + 1, by_q_velocity, mask=real)
