"""Learned motion noise, against a filter in a loop and on scenes with known noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import DetectionSequence, MotionModel, NeuralKalmanFilter, WindowSampler
from em_kalman.motion.noise import ObservedTrajectories, confident_trajectories, learn_noise, noise_loglik
from mot_core.association.kalman import BYTETRACK_NOISE, SORT_NOISE
from mot_core.io import BoxTable


def walks(count, q, r, seed=0, frames=10, height=100.0):
    """Simulate objects with process noise q and measurement noise r; a fifth of the detections is missing."""
    rng = torch.Generator().manual_seed(seed)
    place, velocity = torch.zeros(count, 2), 10 * torch.randn(count, 2, generator=rng)
    points = []
    for _ in range(frames):
        points.append(place + r**0.5 * height * torch.randn(count, 2, generator=rng))
        place = place + velocity
        velocity = velocity + q**0.5 * height * torch.randn(count, 2, generator=rng)
    seen = torch.rand(count, frames, generator=rng) > 0.2
    seen[:, 0] = True
    return ObservedTrajectories(torch.stack(points, 1), seen, torch.full((count,), height))


@pytest.mark.parametrize("noise", [BYTETRACK_NOISE, SORT_NOISE])
def test_likelihood_equals_a_loop(noise):
    found = walks(6, q=1e-4, r=1e-3)
    pairs = (noise.process, noise.process_velocity, noise.measurement, noise.initial, noise.initial_velocity)
    qp, qv, r, p0, v0 = ((pair[0][0] * 100 + pair[0][1]) ** 2 for pair in pairs)
    total = 0.0
    for points, seen in zip(found.points.double().numpy(), found.seen.numpy(), strict=True):
        for c in range(2):
            F, mean, cov = np.array([[1.0, 1], [0, 1]]), np.array([points[0, c], 0]), np.diag([p0, v0])
            for t in range(1, 10):
                mean, cov = F @ mean, F @ cov @ F.T + np.diag([qp, qv])
                if seen[t]:
                    s, error = cov[0, 0] + r, points[t, c] - mean[0]
                    total -= (np.log(2 * np.pi * s) + error**2 / s) / 2
                    gain = cov[:, 0] / s
                    mean, cov = mean + gain * error, cov - np.outer(gain, cov[0])
    assert noise_loglik(found, noise) == pytest.approx(total / found.count, rel=1e-4)


@pytest.mark.parametrize(("q", "r"), [(1e-4, 1e-3), (4e-4, 4e-4)])
def test_learned_noise_recovers_the_truth(q, r):
    found = walks(3000, q, r)
    learned = learn_noise(found, MotionModel())
    assert learned.q == pytest.approx(q, rel=0.05)
    assert learned.r == pytest.approx(r, rel=0.05)
    assert learned.p0 == learned.r
    held_out = walks(1000, q, r, seed=1)
    best = noise_loglik(held_out, learned.for_trackers().noise(BYTETRACK_NOISE))
    assert best > noise_loglik(held_out, BYTETRACK_NOISE) + 0.1
    for worse in (MotionModel(q=3 * q, r=r, p0=r), MotionModel(q=q, r=3 * r, p0=3 * r)):
        assert best > noise_loglik(held_out, worse.for_trackers().noise(BYTETRACK_NOISE))


def test_all_noise_recovers_the_truth():
    """Positions gain noise of their own; the least variance of the initial velocity is that of the given motion."""
    found = walks(3000, 1e-4, 1e-3)
    rng = torch.Generator().manual_seed(5)
    wander = 0.03 * 100 * torch.randn(found.points.shape, generator=rng)
    found = replace(found, points=found.points + wander.cumsum(1))
    learned = learn_noise(found, MotionModel(v0=1e-4), all_noise=True)
    assert learned.q_position == pytest.approx(9e-4, rel=0.15)
    assert learned.q == pytest.approx(1e-4, rel=0.2)
    assert learned.r == pytest.approx(1e-3, rel=0.1)
    assert learned.v0 == pytest.approx(1e-2, rel=0.1)
    assert learn_noise(found, MotionModel(v0=0.04), all_noise=True).v0 == pytest.approx(0.04, rel=0.01)
    only = learn_noise(found, MotionModel(v0=1e-4))
    assert (only.q_position, only.v0) == (0, 1e-4)
    best, worse = (noise_loglik(found, each.for_trackers().noise(BYTETRACK_NOISE)) for each in (learned, only))
    assert best > worse + 0.01


def test_measurement_noise_has_a_floor():
    found = walks(50, q=1e-4, r=0)
    assert learn_noise(found, MotionModel()).r >= 0.05**2 / 100


def test_confident_trajectories():
    """Two crossing objects in shuffled order, the second hidden in frame 3, and distant clutter."""
    places = [[(0, 0), (100, 0)], [(8, 0), (92, 0), (300, 200)], [(16, 0)], [(84, 0), (24, 0)]]
    rows = [(frame, [x, y, x + 40, y + 100]) for frame, row in enumerate(places, 1) for x, y in row]
    table = BoxTable([frame for frame, _ in rows], [-1] * len(rows), [box for _, box in rows])
    windows = WindowSampler([DetectionSequence("a", table, range(1, 5), (600, 600))], num_frames=4)
    found = confident_trajectories(make_distance_model(-8.0), windows)
    first = int(found.points[0, 0, 0] != 20)
    assert found.heights.tolist() == [100, 100]
    assert found.seen[first].tolist() == [True] * 4
    assert found.points[first].tolist() == [[20, 50], [28, 50], [36, 50], [44, 50]]
    assert found.seen[1 - first].tolist() == [True, True, False, False]  # the chain ends at the occlusion
    assert found.count == 4


def test_jumps_are_removed():
    boxes = [[0, 0, 10, 20], [1, 0, 11, 20], [500, 0, 510, 20], [3, 0, 13, 20]]
    table = BoxTable([1, 2, 3, 4], [-1] * 4, boxes)
    windows = WindowSampler([DetectionSequence("a", table, range(1, 5), (600, 600))], num_frames=4)
    found = confident_trajectories(NeuralKalmanFilter(dustbin=False), windows)
    assert found.seen.tolist() == [[True, True, False, True]]


def test_no_associated_detections():
    table = BoxTable([1, 2], [-1, -1], [[0, 0, 10, 20], [500, 0, 510, 20]])
    windows = WindowSampler([DetectionSequence("a", table, range(1, 3), (600, 600))], num_frames=2)
    with pytest.raises(ValueError, match="expected associated detections, found none"):
        confident_trajectories(NeuralKalmanFilter(dustbin=False), windows)
    with pytest.raises(ValueError, match="expected associated detections, found none"):
        confident_trajectories(NeuralKalmanFilter(), WindowSampler([]))


def test_trackers_require_motion_in_heights():
    with pytest.raises(ValueError, match="got 'constant_velocity' and 'pixel'"):
        MotionModel.published().for_trackers()
    with pytest.raises(ValueError, match="got 'random_walk' and 'height'"):
        MotionModel("random_walk").for_trackers()
