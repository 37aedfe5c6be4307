"""Walking pedestrians on a plane and the camera that views them, for synthetic scenes. Units: meters and seconds."""

from __future__ import annotations

import numpy as np

from mot_core.io.table import Floats

NEAREST, FARTHEST = 2.0, 8.5  # distance from the camera, in camera heights
HORIZON = 0.15  # row of the horizon as a fraction of the image height
VIEW_ANGLE = 1.15  # width of the view at distance 1
ASPECT = 0.38  # width of a walking person as a fraction of the height
SPEED = 1.3
SETTLING_TIME = 0.5  # time to adapt to a new intention
INTENTION_TIME = 6.0  # mean time between changes of direction
SWAY = 0.35  # standard deviation of the speed around the intention, per axis


class Camera:
    """A pinhole camera above the plane with a horizontal viewing direction."""

    def __init__(self, image_size: tuple[int, int], above: float) -> None:
        self.height, self.width = image_size
        self.above = above
        self.nearest, self.farthest = NEAREST * above, FARTHEST * above
        # In narrow images the height limits the focal length.
        self.focal = min(self.width / VIEW_ANGLE, (1 - HORIZON) * self.height * NEAREST)

    def half_width(self, depth: Floats) -> Floats:
        """Return half the width of the view at a depth."""
        return depth * self.width / self.focal / 2

    def project(self, side: Floats, depth: Floats, tall: Floats) -> Floats:
        """Return boxes ``(N, 4)`` in pixels of people standing at (side, depth)."""
        scale = self.focal / depth
        x, foot = self.width / 2 + side * scale, HORIZON * self.height + self.above * scale
        half = ASPECT / 2 * tall * scale
        return np.stack([x - half, foot - tall * scale, x + half, foot], -1)

    def random_positions(self, num: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return random positions within the view, uniformly distributed over the plane."""
        # The view widens with depth, so a uniform distribution over the plane needs a square root.
        depth = np.sqrt(self.nearest**2 + rng.random(num) * (self.farthest**2 - self.nearest**2))
        return (2 * rng.random(num) - 1) * self.half_width(depth), depth


class Walkers:
    """Walking pedestrians, one slot each; those that leave the view are replaced by new ones at its border."""

    def __init__(self, num: int, camera: Camera, frame_rate: float, rng: np.random.Generator) -> None:
        self.camera, self.rng, self.dt = camera, rng, 1 / frame_rate
        self.ids = np.arange(1, num + 1)
        self.is_new = np.ones(num, bool)
        self.side, self.depth = camera.random_positions(num, rng)
        self.tall = self._heights(num)
        self.intention = self._intentions(num)
        self.velocity = self.intention.copy()

    def boxes_and_depths(self) -> tuple[Floats, Floats]:
        """Return the boxes ``(N, 4)`` in pixels and distances ``(N,)`` of all pedestrians."""
        return self.camera.project(self.side, self.depth, self.tall), self.depth

    def step(self) -> None:
        """Advance by one frame."""
        rng, num = self.rng, len(self.ids)
        changes = rng.random(num) < self.dt / INTENTION_TIME
        self.intention = np.where(changes[:, None], self._intentions(num), self.intention)
        pull = min(1.0, self.dt / SETTLING_TIME)
        sway = SWAY * (2 * pull) ** 0.5 * rng.standard_normal((num, 2))
        self.velocity += pull * (self.intention - self.velocity) + sway
        self.side = self.side + self.dt * self.velocity[:, 0]
        self.depth = self.depth + self.dt * self.velocity[:, 1]
        self._turn_at_the_ends()
        self._replace(abs(self.side) > self.camera.half_width(self.depth) + 0.5)

    def _turn_at_the_ends(self) -> None:
        nearest, farthest = self.camera.nearest, self.camera.farthest
        beyond = (self.depth < nearest) | (self.depth > farthest)
        inward = np.where(self.depth < nearest, 1.0, -1.0)
        self.depth = self.depth.clip(nearest, farthest)
        for velocity in (self.velocity, self.intention):
            velocity[:, 1] = np.where(beyond, inward * abs(velocity[:, 1]), velocity[:, 1])

    def _replace(self, gone: np.ndarray) -> None:
        num = int(gone.sum())
        self.is_new = gone
        _, depth = self.camera.random_positions(num, self.rng)
        right = np.where(self.rng.random(num) < 0.5, 1.0, -1.0)
        intention = self._intentions(num)
        intention[:, 0] = -right * abs(intention[:, 0])
        self.side[gone], self.depth[gone] = right * (self.camera.half_width(depth) + 0.4), depth
        self.tall[gone] = self._heights(num)
        self.intention[gone] = self.velocity[gone] = intention
        self.ids = self.ids.copy()  # the old array was handed out before
        self.ids[gone] = self.ids.max(initial=0) + np.arange(1, num + 1)

    def _heights(self, num: int) -> Floats:
        return (1.72 + 0.09 * self.rng.standard_normal(num)).clip(1.4, 2.0)

    def _intentions(self, num: int) -> Floats:
        """Return random velocities (side, depth), mostly across the view."""
        speed = SPEED * (0.6 + 0.8 * self.rng.random(num))
        slope = 1.2 * self.rng.random(num) - 0.6
        along = np.where(self.rng.random(num) < 0.5, 1.0, -1.0) * speed / np.sqrt(1 + slope**2)
        return np.stack([along, slope * along], -1)
