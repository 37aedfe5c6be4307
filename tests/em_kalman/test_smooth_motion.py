"""Choice between the filter of the tracker and a smooth one, against a loop over single tracks."""

import math

import numpy as np
import pytest
import torch

from em_kalman import EMKalmanTracker
from em_kalman.tracking.smooth_motion import OWN, SHARED, SMOOTH, SmoothMotion
from em_kalman.tracking.tracker import LAST_SIZE, STATE
from mot_core.association.kalman import P
from mot_core.io import make_scene
from mot_core.structures import Detections


class Reference:
    """One coordinate pair of one track: two textbook Kalman filters with 2 x 2 matrices."""

    def __init__(self, z, motion):
        unit = z[3] ** 2
        self.motion, self.x = motion, np.array([[z[0], z[1]], [0, 0]])
        self.cov = np.diag([motion.p0, motion.v0]) * unit
        self.height = z[3]

    def predict(self, dt):
        f = np.array([[1, dt], [0, 1]])
        noise = np.diag([self.motion.q_position, self.motion.q]) * self.height**2 * dt
        self.x, self.cov = f @ self.x, f @ self.cov @ f.T + noise

    def update(self, z):
        gain = self.cov[:, :1] / (self.cov[0, 0] + self.motion.r * self.height**2)
        self.x = self.x + gain @ (np.array([z[:2]]) - self.x[:1])
        self.cov = self.cov - gain @ self.cov[:1]
        self.height = z[3]

    def error(self, z):
        return math.log(1 + math.dist(self.x[0], z[:2]) ** 2 / (0.05 * z[3]) ** 2)


def walk(seed, count=3, frames=60):
    """Positions (frames, 4, count): one track keeps its velocity and jitters, one turns sharply, one is in between."""
    rng = np.random.default_rng(seed)
    velocity = rng.normal(0, 2, (frames, 2, count))
    velocity[:, :, 0] = 1.5
    velocity[:, :, 1] += 25 * np.sign(np.sin(np.arange(frames) / 3))[:, None]
    z = np.empty((frames, 4, count))
    z[:, :2] = velocity.cumsum(0) + 200 * np.arange(count) + rng.normal(0, [3, 0.1, 1], (frames, 2, count))
    z[:, 2], z[:, 3] = 0.5, 80 + 10 * np.arange(count)
    return z


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_loop_over_tracks(seed):
    """With gaps, other time steps, and tracks that start later."""
    tracker = EMKalmanTracker()
    agile = tracker.model.learned_motion()
    rng, z = np.random.default_rng(seed), walk(seed)
    motion, kalman = SmoothMotion(LAST_SIZE), tracker._kalman
    state, block = motion.start(z[0, :, :2], 0.0), kalman.start(z[0, :, :2], z[0, 3, :2])
    pairs = [[Reference(z[0, :, k], one) for one in (agile, SMOOTH)] for k in range(2)]
    own, shared, chosen = [0.0, 0.0], 0.0, []
    for frame in range(1, len(z)):
        dt = float(rng.choice([1.0, 0.5, 2.0]))
        motion.predict(state, dt)
        kalman.predict(block, block[P][3], dt)
        for pair in pairs:
            for one in pair:
                one.predict(dt)
        smooth = [evidence > 0.5 and evidence + 20 * shared > 0 for evidence in own]
        chosen.append(smooth[:2])
        wanted = [pair[use].x[0] for pair, use in zip(pairs, smooth, strict=True)]
        np.testing.assert_allclose(motion.centers(state, block[P]), np.transpose(wanted), rtol=1e-9)
        seen = (rng.random(len(pairs)) < 0.7).nonzero()[0]
        measured = z[frame][:, seen]
        motion.observe(state, seen, block[P][:, seen], measured)
        block[:, seen] = kalman.update(block[:, seen], measured, block[P][3, seen])
        evidence = [pairs[k][0].error(z[frame, :, k]) - pairs[k][1].error(z[frame, :, k]) for k in seen]
        for k, value in zip(seen, evidence, strict=True):
            own[k] = 0.95 * own[k] + value
            for one in pairs[k]:
                one.update(z[frame, :, k])
        shared = 0.998 ** len(seen) * shared + 0.002 * sum(evidence)
        np.testing.assert_allclose(state[OWN], own, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(state[SHARED], shared, rtol=1e-6, atol=1e-9)
        if frame == 20:
            late = z[frame, :, 2:]
            state = np.concatenate([state, motion.start(late, shared)], 1)
            block = np.concatenate([block, kalman.start(late, late[3])], 1)
            pairs.append([Reference(late[:, 0], one) for one in (agile, SMOOTH)])
            own.append(0.0)
    steady, turning = np.mean(chosen, 0)
    assert steady > 0.5 > 0.2 > turning, "steady motion uses the smooth filter, sharp turns do not"


def test_steady_track_is_found_again_where_its_smooth_filter_expects_it():
    """Box noise of 3 % of the height gives the tracker's own filter a velocity that misleads it during the gap."""
    rng = np.random.default_rng(3)

    def box(frame, noise=0.0):
        left = 300 + 2 * frame
        return np.array([[left, 100, left + 40, 200]]) + noise

    found, noise = {}, rng.normal(0, 3, 60)
    for smooth in (True, False):
        tracker = EMKalmanTracker()
        if not smooth:
            tracker._smooth.centers = lambda state, position: position[:2]
        for frame in range(60):
            tracker.update(box(frame, noise[frame]), np.ones(1))
        for _ in range(20):
            tracker.update(np.zeros((0, 4)), np.ones(0))
        (table,) = tracker._streams.values()
        center = tracker._corners(table.values)[[0, 2], 0].mean()
        found[smooth] = abs(center - (box(79)[0, 0] + 20))
    assert found[True] < 0.5 * found[False]


def test_evidence_is_shared_within_a_stream_only():
    tracker = EMKalmanTracker()
    scenes = [make_scene(seed, 8, 30, (480, 640), 25.0).detections for seed in (0, 1)]
    both, alone = EMKalmanTracker(), EMKalmanTracker()
    for frame in range(1, 31):
        rows = [table.frame(frame) for table in scenes]
        given = [(table.boxes_xyxy[r], table.scores[r]) for table, r in zip(scenes, rows, strict=True)]
        both.update_streams({name: Detections(*one) for name, one in zip("ab", given, strict=True)})
        alone.update(*given[0])
        tracker.update(*given[1])
    assert np.array_equal(both._streams["a"].values, alone._streams[0].values)
    assert np.array_equal(both._streams["b"].values, tracker._streams[0].values)
    shared = alone._streams[0].values[STATE][SHARED]
    assert (shared == shared[0]).all()
    assert shared[0] != 0


def test_saved_state_continues_exactly():
    table = make_scene(2, 10, 40, (480, 640), 25.0).detections
    one, other = EMKalmanTracker(), EMKalmanTracker()

    def step(tracker, frame):
        rows = table.frame(frame)
        return tracker.update(table.boxes_xyxy[rows], table.scores[rows])

    for frame in range(1, 21):
        step(one, frame)
    other.load_state_dict(one.state_dict())
    for frame in range(21, 41):
        first, second = step(one, frame), step(other, frame)
        assert np.array_equal(first.ids, second.ids)
        assert np.array_equal(first.boxes_xyxy, second.boxes_xyxy)
    assert torch.equal(one.state_dict()["streams"][0]["values"], other.state_dict()["streams"][0]["values"])
