"""Rauch-Tung-Striebel smoother of independent objects: a program instance processes all frames of a block of objects.

With filtered moments ``m, C``, predicted moments ``m^-, P`` and ``X = C F'``, the gain is ``G = X P^-1`` and the
recursion from the last frame to the first is::

    m^s_t = m_t + G e,      e = m^s_{t+1} - m^-_{t+1}
    C^s_t = C_t + G D G',   D = C^s_{t+1} - P_{t+1}

All matrices are 2 x 2 and written out; without velocity, their second row and column have no effect.
"""

import triton
import triton.language as tl

from mot_core.ops.triton.kalman import _load, _store


@triton.jit
def _moments(
    mean, cov, at, k, d, objects, coordinates, FILL: tl.constexpr, MOVING: tl.constexpr, PRECISION: tl.constexpr
):
    """Load ``p``, ``v``, ``a``, ``b`` and ``c`` of a frame."""
    p, v, a, b, c = _load(mean, cov, at, k, d, objects, coordinates, FILL, MOVING, PRECISION)
    return p, v, a, b / 2, c


@triton.jit
def _gain(a, b, c, pa, pb, pc, DT: tl.constexpr):
    """Return ``G`` by rows and the inverse of ``P``, with 0 in place of the inverse of a zero variance."""
    i00 = 1 / tl.where(pa > 0, pa, float("inf"))
    slope = pb * i00
    schur = pc - slope * pb
    i11 = 1 / tl.where(schur > 0, schur, float("inf"))
    i01 = -slope * i11
    i00 -= slope * i01
    x00, x10 = a + DT * b, b + DT * c
    return x00 * i00 + b * i01, x00 * i01 + b * i11, x10 * i00 + c * i01, x10 * i01 + c * i11, i00, i01, i11


@triton.jit
def smooth_forward(
    mean,
    cov,
    predicted_mean,
    predicted_cov,
    smoothed_mean,
    smoothed_cov,
    frames,
    objects,
    coordinates,
    DT: tl.constexpr,
    MOVING: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute the smoothed moments of every frame for ``BLOCK_K`` objects, from the last frame to the first."""
    batch = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    at = (batch * frames + frames - 1) * objects
    p, v, a, b, c = _moments(mean, cov, at, k, d, objects, coordinates, 0, MOVING, PRECISION)
    _store(smoothed_mean, smoothed_cov, at, k, d, objects, coordinates, p, v, a, b, c, MOVING)
    for back in range(1, frames):
        later = (batch * frames + frames - back) * objects
        at = later - objects
        fp, fv, fa, fb, fc = _moments(mean, cov, at, k, d, objects, coordinates, 0, MOVING, PRECISION)
        pp, pv, pa, pb, pc = _moments(
            predicted_mean, predicted_cov, later, k, d, objects, coordinates, 1, MOVING, PRECISION
        )
        g00, g01, g10, g11, _, _, _ = _gain(fa, fb, fc, pa, pb, pc, DT)
        ep, ev = p - pp, v - pv
        da, db, dc = a - pa, b - pb, c - pc
        p = fp + g00[:, None] * ep + g01[:, None] * ev
        v = fv + g10[:, None] * ep + g11[:, None] * ev
        h00, h01 = g00 * da + g01 * db, g00 * db + g01 * dc
        h10, h11 = g10 * da + g11 * db, g10 * db + g11 * dc
        a = fa + h00 * g00 + h01 * g01
        b = fb + h00 * g10 + h01 * g11
        c = fc + h10 * g10 + h11 * g11
        _store(smoothed_mean, smoothed_cov, at, k, d, objects, coordinates, p, v, a, b, c, MOVING)


@triton.jit
def smooth_backward(
    by_mean,
    by_cov,
    mean,
    cov,
    predicted_mean,
    predicted_cov,
    smoothed_mean,
    smoothed_cov,
    mean_gradient,
    cov_gradient,
    predicted_mean_gradient,
    predicted_cov_gradient,
    frames,
    objects,
    coordinates,
    DT: tl.constexpr,
    MOVING: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute the gradients of the four filter moments for ``BLOCK_K`` objects, from the first frame to the last.

    With the gradients ``g`` of ``m^s_t`` and ``W`` of ``C^s_t`` (symmetric), and ``B = g e' + 2 W G D``, the gradient
    of ``G``::

        dL/dm_t = g,   dL/dC_t = W + B P^-1 F,   dL/de = G' g,   dL/dD = G' W G,   dL/dP = -G' B P^-1 - dL/dD

    and ``dL/de`` and ``dL/dD`` continue as gradients of the smoothed moments of the next frame.
    """
    batch = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    d = tl.arange(0, BLOCK_D)
    at = batch * frames * objects
    gp, gv, ga, gb, gc = _load(by_mean, by_cov, at, k, d, objects, coordinates, 0, MOVING, PRECISION)
    # The prediction of frame 0 has no effect on the smoothed moments.
    _store(
        predicted_mean_gradient, predicted_cov_gradient, at, k, d, objects, coordinates,
        gp * 0, gv * 0, ga * 0, gb * 0, gc * 0, MOVING,
    )  # fmt: skip
    for frame in range(1, frames):
        later = (batch * frames + frame) * objects
        at = later - objects
        _, _, fa, fb, fc = _moments(mean, cov, at, k, d, objects, coordinates, 0, MOVING, PRECISION)
        pp, pv, pa, pb, pc = _moments(
            predicted_mean, predicted_cov, later, k, d, objects, coordinates, 1, MOVING, PRECISION
        )
        sp, sv, sa, sb, sc = _moments(
            smoothed_mean, smoothed_cov, later, k, d, objects, coordinates, 1, MOVING, PRECISION
        )
        g00, g01, g10, g11, i00, i01, i11 = _gain(fa, fb, fc, pa, pb, pc, DT)
        ep, ev = sp - pp, sv - pv
        da, db, dc = sa - pa, sb - pb, sc - pc
        h00, h01 = g00 * da + g01 * db, g00 * db + g01 * dc
        h10, h11 = g10 * da + g11 * db, g10 * db + g11 * dc
        # Gradient of the gain: from the mean, and from G D G' with the symmetric gradient [[ga, gb / 2], [gb / 2, gc]].
        by00 = tl.sum(gp * ep, 1) + 2 * ga * h00 + gb * h10
        by01 = tl.sum(gp * ev, 1) + 2 * ga * h01 + gb * h11
        by10 = tl.sum(gv * ep, 1) + gb * h00 + 2 * gc * h10
        by11 = tl.sum(gv * ev, 1) + gb * h01 + 2 * gc * h11
        # Gradient of X, then of P, which enters the gain as an inverse.
        x00, x01 = by00 * i00 + by01 * i01, by00 * i01 + by01 * i11
        x10, x11 = by10 * i00 + by11 * i01, by10 * i01 + by11 * i11
        by_pa = -(g00 * x00 + g10 * x10)
        by_pb = -(g00 * x01 + g10 * x11 + g01 * x00 + g11 * x10)
        by_pc = -(g01 * x01 + g11 * x11)
        # Gradient of the change of the next frame.
        w00, w01 = ga * g00 + gb / 2 * g10, ga * g01 + gb / 2 * g11
        w10, w11 = gb / 2 * g00 + gc * g10, gb / 2 * g01 + gc * g11
        by_da, by_db, by_dc = g00 * w00 + g10 * w10, 2 * (g00 * w01 + g10 * w11), g01 * w01 + g11 * w11
        by_ep = g00[:, None] * gp + g10[:, None] * gv
        by_ev = g01[:, None] * gp + g11[:, None] * gv
        _store(
            mean_gradient, cov_gradient, at, k, d, objects, coordinates,
            gp, gv, ga + x00, (gb + DT * x00 + x01 + x10) / 2, gc + DT * x10 + x11, MOVING,
        )  # fmt: skip
        _store(
            predicted_mean_gradient, predicted_cov_gradient, later, k, d, objects, coordinates,
            -by_ep, -by_ev, by_pa - by_da, (by_pb - by_db) / 2, by_pc - by_dc, MOVING,
        )  # fmt: skip
        gp, gv, ga, gb, gc = _load(by_mean, by_cov, later, k, d, objects, coordinates, 0, MOVING, PRECISION)
        gp += by_ep
        gv += by_ev
        ga += by_da
        gb += by_db
        gc += by_dc
    at = (batch * frames + frames - 1) * objects
    _store(mean_gradient, cov_gradient, at, k, d, objects, coordinates, gp, gv, ga, gb / 2, gc, MOVING)
