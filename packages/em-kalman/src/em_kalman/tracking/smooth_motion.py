"""A second, smooth filter for the motion of each track, and the choice between both."""

from __future__ import annotations

import numpy as np

from em_kalman.motion.motion_model import MotionModel
from mot_core.association.frame_detections import Floats, Integers
from mot_core.association.kalman import FILTER_ROWS, BatchedKalman, MotionNoise, P

# Detections err by 0.05 box heights, objects drift by 0.02 per frame, and velocities are small and hardly change.
SMOOTH = MotionModel(q=1e-5, r=0.05**2, v0=0.02**2, q_position=0.02**2)
TOLERANCE = 0.05  # box heights
TRACK_MEMORY = 0.95  # of the evidence of a track per detection: of about 20 detections
STREAM_MEMORY = 0.998  # of the mean evidence of all tracks per detection: of about 500 detections
STREAM_WEIGHT = 20.0  # detections of the track that the mean of all tracks counts for
LEAST = 0.5  # evidence of its own that a track needs
OWN, SHARED, ROWS = FILTER_ROWS, FILTER_ROWS + 1, FILTER_ROWS + 2


class SmoothMotion:
    """Filters with little motion, which replace those of the tracker for the tracks that they predict better.

    People who walk keep their velocity for seconds, and their boxes jitter; dancers and vehicles seen from a car do
    not. Each track has two filters, both updated by all its detections (a static multiple-model estimator; Bar-Shalom,
    Li and Kirubarajan 2001, section 11.6.2). A detection at distances ``e`` and ``s`` from the predictions of the
    tracker's filter and of the smooth one, in box heights, has the evidence ::

        d = log(1 + (e / 0.05)^2) - log(1 + (s / 0.05)^2)

    The smooth filter predicts a track if the sum of ``d`` over its last 20 detections is above 0.5, and positive with
    20 times the mean over the last 500 detections of all tracks. Both memories are exponential.

    The state of ``N`` tracks is an array ``(22, N)``: filter block, own evidence, and shared evidence, which is equal
    for all tracks of a stream.

    Args:
        noise: Noise of the size of a box.

    >>> from em_kalman.tracking.tracker import LAST_SIZE
    >>> motion = SmoothMotion(LAST_SIZE)
    >>> z = np.array([[50.0], [50.0], [0.5], [100.0]])
    >>> state = motion.start(z, 0.0)
    >>> motion.observe(state, np.array([0]), z + [[20.0], [0], [0], [0]], z + [[2.0], [0], [0], [0]])
    >>> state[OWN].round(2), motion.centers(state, z + 9).tolist()
    (array([2.49]), [[51.0], [50.0]])
    """

    def __init__(self, noise: MotionNoise) -> None:
        self._kalman = BatchedKalman(SMOOTH.for_trackers().noise(noise))

    def start(self, measured: Floats, shared: float) -> Floats:
        """Return the states of new tracks at ``measured`` (cx, cy, aspect ratio, height) in pixels, ``(4, N)``."""
        state = np.zeros((ROWS, measured.shape[1]))
        state[:FILTER_ROWS] = self._kalman.start(measured, measured[3])
        state[SHARED] = shared
        return state

    def predict(self, state: Floats, dt: float) -> None:
        """Predict all tracks by ``dt`` frames in place."""
        block = state[:FILTER_ROWS]
        self._kalman.predict(block, block[P][3], dt)

    def centers(self, state: Floats, position: Floats) -> Floats:
        """Return the centers ``(2, N)`` in pixels of the better filter, of which ``position (4, N)`` is the other."""
        smooth = (state[OWN] > LEAST) & (state[OWN] + STREAM_WEIGHT * state[SHARED] > 0)
        return np.where(smooth, state[:2], position[:2])

    def observe(self, state: Floats, columns: Integers, position: Floats, measured: Floats) -> None:
        """Update the tracks at ``columns`` in place.

        Args:
            state: States of all tracks.
            columns: Tracks with a detection, ``(K,)``.
            position: Their positions predicted by the filter of the tracker, ``(4, K)``.
            measured: Their detections, ``(4, K)``.
        """
        block = state[:FILTER_ROWS].take(columns, 1)
        scale = (TOLERANCE * measured[3]) ** 2
        errors = [np.log1p(((one[:2] - measured[:2]) ** 2).sum(0) / scale) for one in (position, block)]
        evidence = errors[0] - errors[1]
        state[OWN, columns] = TRACK_MEMORY * state[OWN, columns] + evidence
        state[SHARED] = STREAM_MEMORY ** len(columns) * state[SHARED] + (1 - STREAM_MEMORY) * evidence.sum()
        state[:FILTER_ROWS, columns] = self._kalman.update(block, measured, block[P][3])
