"""A batched Kalman filter for all tracks: four independent constant-velocity filters per box.

A box has four coordinates, each with a position and a velocity. The noise matrices of SORT and ByteTrack are diagonal,
so the 8-dimensional filter of the papers decomposes into four filters with two states each, and every step is plain
arithmetic on ``(4, N)`` arrays: no matrix products, no inverses, no loop over tracks.

A *filter block* ``(20, N)`` holds five groups of four coordinates: position ``p``, velocity ``v``, and the covariances
``pp``, ``pv`` and ``vv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FILTER_ROWS = 20
P, V, PP, PV, VV = (slice(4 * i, 4 * i + 4) for i in range(5))
_COVARIANCE = slice(8, 20)


@dataclass(frozen=True)
class MotionNoise:
    """Standard deviations of the filter, one per coordinate, in the unit of the coordinate.

    Each is ``relative * height + absolute`` for the height of the box; usually exactly one of the two is nonzero.

    Attributes:
        process: Process noise of the position per frame, as four ``(relative, absolute)`` pairs.
        process_velocity: Process noise of the velocity per frame. Higher values follow turns faster but smooth less.
        measurement: Noise of a detection.
        initial: Uncertainty of the position of a new track.
        initial_velocity: Uncertainty of the velocity of a new track.

    >>> SORT_NOISE.measurement[2]
    (0.0, 3.1622776601683795)
    """

    process: Sequence[tuple[float, float]]
    process_velocity: Sequence[tuple[float, float]]
    measurement: Sequence[tuple[float, float]]
    initial: Sequence[tuple[float, float]]
    initial_velocity: Sequence[tuple[float, float]]

    def __post_init__(self) -> None:
        for name in ("process", "process_velocity", "measurement", "initial", "initial_velocity"):
            values = np.asarray(getattr(self, name), float)
            if values.shape != (4, 2) or not np.isfinite(values).all() or (values < 0).any():
                raise ValueError(
                    f"MotionNoise.{name} must be four (relative, absolute) pairs of finite numbers >= 0, "
                    f"got {getattr(self, name)!r}"
                )


def _fixed(*deviations: float) -> tuple[tuple[float, float], ...]:
    return tuple((0.0, d) for d in deviations)


# Bewley et al. 2016 for (x, y, area, aspect ratio); the variances 1, 1e-2, 10, 1e4, ... as standard deviations.
SORT_NOISE = MotionNoise(
    process=_fixed(1, 1, 1, 1),
    process_velocity=_fixed(0.1, 0.1, 0.01, 0),
    measurement=_fixed(1, 1, 10**0.5, 10**0.5),
    initial=_fixed(10**0.5, 10**0.5, 10**0.5, 10**0.5),
    initial_velocity=_fixed(100, 100, 100, 0),
)

# Wojke et al. 2017 for (x, y, aspect ratio, height): 1/20 of the height for positions, 1/160 for velocities.
BYTETRACK_NOISE = MotionNoise(
    process=((1 / 20, 0), (1 / 20, 0), (0, 1e-2), (1 / 20, 0)),
    process_velocity=((1 / 160, 0), (1 / 160, 0), (0, 1e-5), (1 / 160, 0)),
    measurement=((1 / 20, 0), (1 / 20, 0), (0, 1e-1), (1 / 20, 0)),
    initial=((1 / 10, 0), (1 / 10, 0), (0, 1e-2), (1 / 10, 0)),
    initial_velocity=((1 / 16, 0), (1 / 16, 0), (0, 1e-5), (1 / 16, 0)),
)

# Aharon et al. 2022 for (x, y, width, height), relative to width, height, width, height.
BOTSORT_NOISE = MotionNoise(
    process=((1 / 20, 0),) * 4,
    process_velocity=((1 / 160, 0),) * 4,
    measurement=((1 / 20, 0),) * 4,
    initial=((1 / 10, 0),) * 4,
    initial_velocity=((1 / 16, 0),) * 4,
)


class BatchedKalman:
    """Kalman prediction and update of filter blocks ``(20, N)`` under a :class:`MotionNoise`.

    Per coordinate, with the textbook equations of the discrete Kalman filter for ``F = [[1, dt], [0, 1]]`` and
    ``H = [1, 0]``::

        predict:  p' = p + dt v
                  pp' = pp + 2 dt pv + dt^2 vv + dt q_p
                  pv' = pv + dt vv
                  vv' = vv + dt q_v
        update:   k = (pp, pv) / (pp + r)
                  (p, v) += k (z - p)
                  pp' = pp (1 - k_p),  pv' = pv (1 - k_p),  vv' = vv - k_v pv

    >>> kalman = BatchedKalman(BYTETRACK_NOISE)
    >>> z = np.array([[50.0], [50.0], [0.5], [100.0]])
    >>> block = kalman.start(z, z[3])
    >>> kalman.predict(block, block[3])
    >>> kalman.update(block, z + [[4.0], [0.0], [0.0], [0.0]], z[3])[0].round(3)
    array([53.471])
    """

    def __init__(self, noise: MotionNoise) -> None:
        zero = ((0.0, 0.0),) * 4
        self._process = _Variance((*noise.process, *zero, *noise.process_velocity))
        self._measurement = _Variance(noise.measurement)
        self._initial = _Variance((*noise.initial, *zero, *noise.initial_velocity))

    def start(self, measured: Floats, heights: Floats) -> Floats:
        """Return the filter blocks ``(20, N)`` of new tracks at ``measured`` ``(4, N)`` with zero velocity."""
        block = np.zeros((FILTER_ROWS, measured.shape[1]))
        block[P] = measured
        block[_COVARIANCE] = self._initial(heights)
        return block

    def predict(self, block: Floats, heights: Floats, dt: float | Floats = 1.0) -> None:
        """Predict ``block`` by ``dt`` frames (scalar or ``(N,)``) in place; process noise is proportional to ``dt``."""
        covariance = block[_COVARIANCE]
        pp, pv, vv = covariance[:4], covariance[4:8], covariance[8:]
        process = self._process(heights)  # before the motion step, because heights is often a row of the block
        if isinstance(dt, float) and dt == 1.0:
            block[P] += block[V]
            pp += pv
            pv += vv
            pp += pv
            covariance += process
        else:
            block[P] += block[V] * dt
            pp += pv * dt
            pv += vv * dt
            pp += pv * dt
            covariance += process * dt

    def innovation(self, block: Floats, measured: Floats, heights: Floats) -> tuple[Floats, Floats]:
        """Return how measurements ``(4, N)`` differ from the filters ``(20, N)``, and the expected variance of this.

        >>> kalman = BatchedKalman(SORT_NOISE)
        >>> z = np.zeros((4, 1))
        >>> difference, variance = kalman.innovation(kalman.start(z, z[3]), z + 2, z[3])
        >>> difference[0], variance[0].round(3)
        (array([2.]), array([11.]))
        """
        return measured - block[P], block[PP] + self._measurement(heights)

    def distance(self, block: Floats, measured: Floats, heights: Floats) -> Floats:
        """Return the squared Mahalanobis distance ``(N, M)`` of filters ``(20, N)`` and measurements ``(4, M)``.

        >>> kalman = BatchedKalman(SORT_NOISE)
        >>> z = np.zeros((4, 1))
        >>> kalman.distance(kalman.start(z, z[3]), z + [[11.0], [0.0], [0.0], [0.0]], z[3]).round(3)
        array([[11.]])
        """
        variance = block[PP] + self._measurement(heights)
        difference = measured[:, None, :] - block[P][:, :, None]
        return np.asarray((difference**2 / variance[:, :, None]).sum(0))

    def update(self, block: Floats, measured: Floats, heights: Floats) -> Floats:
        """Return a new block: ``block`` ``(20, K)`` corrected by the measurements ``(4, K)``."""
        p, v, pp, pv, vv = block[P], block[V], block[PP], block[PV], block[VV]
        # Gains of position and velocity together: pp and pv (rows 8 to 16) divided by the innovation variance.
        gain = block[8:16].reshape(2, 4, -1) / (pp + self._measurement(heights))
        out = np.empty_like(block)
        pairs = out[:16].reshape(4, 4, -1)
        np.multiply(gain, measured - p, out=pairs[:2])
        out[P] += p
        out[V] += v
        np.multiply(gain, pp, out=pairs[2:])
        np.subtract(block[8:16], out[8:16], out=out[8:16])
        np.subtract(vv, gain[1] * pv, out=out[VV])
        return out


class _Variance:
    """Variance ``(relative * scale + absolute)^2`` of stacked coordinates, for scales ``(N,)`` or ``(4, N)``."""

    def __init__(self, deviations: Sequence[tuple[float, float]]) -> None:
        relative, absolute = np.asarray(deviations, float).T[:, :, None]
        self._square = relative * relative
        self._cross = 2 * relative * absolute
        self._constant = absolute * absolute
        self._needs_height = bool(relative.any())
        self._needs_cross = bool(self._cross.any())

    def __call__(self, heights: Floats) -> Floats:
        if not self._needs_height:
            return self._constant
        if heights.ndim == 2:  # a scale per coordinate, repeated for position, velocity and their product
            heights = np.tile(heights, (len(self._square) // 4, 1))
        variance = self._square * (heights * heights)
        variance += self._constant
        if self._needs_cross:
            variance += self._cross * heights
        return variance
