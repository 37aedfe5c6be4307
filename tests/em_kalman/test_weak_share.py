"""Share of objects among weak detections, learned without labels."""

import numpy as np
import pytest
import torch

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import DetectionSequence, MotionModel, NeuralKalmanFilter, learn_weak_share
from mot_core.io import BoxTable, make_scene


def sequence(*frames):
    """Sequence of (left edge, score) pairs per frame, in boxes of 40 x 100 pixels."""
    rows = [(number, left, score) for number, frame in enumerate(frames, 1) for left, score in frame]
    numbers, lefts, scores = np.array(rows).T
    boxes = np.stack([lefts, 0 * lefts, lefts + 40, 0 * lefts + 100], -1)
    return DetectionSequence(
        "street", BoxTable(numbers, -1 + 0 * numbers, boxes, scores), range(1, len(frames) + 1), (480, 640)
    )


STRONG, DOUBLE = [(0, 0.9)], [(0, 0.9), (1, 0.35)]


def test_shares_of_a_small_example():
    """Counted are frames 3, 4 and 7 with a strong box, two of them with a second box, and 5 and 8 without.

    Frame 6 finds a lost track, and the first two frames a new one.
    """
    model = make_distance_model()
    learn_weak_share(model, [sequence(STRONG, STRONG, STRONG, DOUBLE, [(0, 0.35)], STRONG, DOUBLE, [(0, 0.55)])])
    rate = 2 / 3
    expected = [0.5] * 10
    expected[3] = (1 - rate * 2 + 1) / (1 + 2)
    expected[5] = (1 + 1) / (1 + 2)
    assert model.weak_share.tolist() == pytest.approx(expected)


def test_share_falls_with_second_boxes():
    gap = [[(0, 0.35)], STRONG]
    shares = []
    for frame in (STRONG, DOUBLE):
        model = make_distance_model()
        learn_weak_share(model, [sequence(*[frame] * 20, *gap * 8)])
        shares.append(model.weak_share[3].item())
    assert shares[1] < 0.5 < 0.8 < shares[0]


def test_synthetic_detectors_weak_boxes_are_objects():
    scene = make_scene(seed=1, num_objects=15, num_frames=120)
    found = DetectionSequence("street", scene.detections, range(1, 121), scene.image_size)
    model = make_distance_model(-8.0)
    learn_weak_share(model, [found])
    assert model.weak_share[4:6].min() > 0.6
    assert model.weak_share[6:].tolist() == [0.5] * 4  # strong scores


@pytest.mark.parametrize("options", [{"dustbin": False}, {"embeddings": True}, {"motion": MotionModel(scale="pixel")}])
def test_models_that_cannot_track_are_unchanged(options):
    model = NeuralKalmanFilter(**options)
    learn_weak_share(model, [sequence(STRONG, STRONG, DOUBLE)])
    assert torch.equal(model.weak_share, torch.full((10,), 0.5))
