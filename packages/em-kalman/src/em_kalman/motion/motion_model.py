"""Linear Gaussian motion model with its process and measurement noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from mot_core.association import LearnedMotion


@dataclass(frozen=True)
class MotionModel:
    """Variances of a linear Gaussian motion model, for each coordinate.

    For "constant_velocity", with the state (position, velocity)::

        F = [[1, dt], [0, 1]],    Q = diag(q_position, q),    R = r,    P[0] = diag(p0, v0)

    For "random_walk", with the position as the state, ``F = 1`` and ``Q = q``.

    Attributes:
        kind: Type of motion, "constant_velocity" or "random_walk".
        dt: Time between frames.
        q: Variance that the velocity gains per frame; in a random walk, the position. Higher values allow sharper
            turns.
        r: Variance of a measured coordinate. Higher values trust detections less.
        p0: Variance of the position in the first frame of a window.
        v0: Variance of the velocity in the first frame; unused in a random walk.
        scale: Unit of lengths: "height" for shares of the height of the object's box, "pixel" for pixels.
        q_position: Variance that the position gains per frame in addition to its velocity; unused in a random walk.
            Higher values make velocities change less after a detection, which suits errors that last several frames.

    Raises:
        ValueError: If an argument is out of range.

    >>> MotionModel().r, MotionModel.published().scale
    (0.0025000000000000005, 'pixel')
    """

    kind: Literal["random_walk", "constant_velocity"] = "constant_velocity"
    dt: float = 1.0
    q: float = 0.02**2
    r: float = 0.05**2
    p0: float = 0.05**2
    v0: float = 0.1**2
    scale: Literal["pixel", "height"] = "height"
    q_position: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("random_walk", "constant_velocity"):
            raise ValueError(f"kind must be random_walk or constant_velocity, got {self.kind!r}")
        if self.scale not in ("pixel", "height"):
            raise ValueError(f"scale must be pixel or height, got {self.scale!r}")
        numbers = {field.name: getattr(self, field.name) for field in fields(self) if field.name in "dt q r p0 v0"}
        for name, value in numbers.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive finite number, got {value}")
        if not 0 <= self.q_position < math.inf:
            raise ValueError(f"q_position must be a finite number >= 0, got {self.q_position}")

    @classmethod
    def published(cls) -> MotionModel:
        """Return the constants of the authors' code: nearly static objects, in pixels.

        >>> MotionModel.published().dt
        0.01
        """
        return cls(dt=0.01, q=math.exp(5), r=5.0, p0=300.0, v0=300.0, scale="pixel")

    def process_noise(self, heights: Tensor, q: Tensor | None = None) -> Tensor:
        """Return process variances ``(B, K, S)`` for these box heights; ``q`` overrides the attribute.

        >>> MotionModel().process_noise(torch.full((1, 1), 100.0)).round(decimals=3).tolist()
        [[[0.0, 4.0]]]
        """
        unit = self._unit(heights)
        added = unit * (self.q if q is None else q)
        return added[..., None] if self.kind == "random_walk" else torch.stack([unit * self.q_position, added], -1)

    def measurement_noise(self, heights: Tensor, r: Tensor | None = None) -> Tensor:
        """Return measurement variances for boxes with these heights, in their shape; ``r`` overrides the attribute.

        >>> round(MotionModel().measurement_noise(torch.tensor(100.0)).item(), 3)
        25.0
        """
        return self._unit(heights) * (self.r if r is None else r)

    def initial_variance(self, heights: Tensor) -> Tensor:
        """Return initial variances ``(B, K, S)`` of objects with these box heights.

        >>> MotionModel().initial_variance(torch.full((1, 1), 100.0)).round(decimals=3).tolist()
        [[[25.0, 100.0]]]
        """
        variances = [self.p0] if self.kind == "random_walk" else [self.p0, self.v0]
        return torch.stack([self._unit(heights) * variance for variance in variances], -1)

    @property
    def fits_trackers(self) -> bool:
        """Whether the filters of :mod:`mot_core.association` support this motion model.

        >>> MotionModel().fits_trackers, MotionModel.published().fits_trackers
        (True, False)
        """
        return self.kind == "constant_velocity" and self.scale == "height"

    def for_trackers(self, trained_on: str = "") -> LearnedMotion:
        """Convert for the filters of :mod:`mot_core.association`; ``for_trackers().save("motion.json")`` writes a file.

        Args:
            trained_on: Description of the training data, for human readers.

        Raises:
            ValueError: If the model is in pixels or a random walk.

        >>> from mot_core.association.kalman import BYTETRACK_NOISE
        >>> round(MotionModel().for_trackers("our street").noise(BYTETRACK_NOISE).measurement[0][0], 3)  # box heights
        0.05
        """
        if not self.fits_trackers:
            raise ValueError(
                f"motion: expected kind='constant_velocity' and scale='height' for trackers, got {self.kind!r} and "
                f"{self.scale!r}"
            )
        return LearnedMotion(self.q, self.r, self.p0, self.v0, self.dt, trained_on, self.q_position)

    def _unit(self, heights: Tensor) -> Tensor:
        return heights.square() if self.scale == "height" else torch.ones_like(heights)
