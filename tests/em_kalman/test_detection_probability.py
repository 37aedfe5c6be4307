"""Detection probability by track status, learned without labels."""

import numpy as np
import pytest
import torch

from _helpers.em_kalman_scenes import make_distance_model, table
from em_kalman import (
    DetectionSequence,
    EMKalmanTracker,
    MotionModel,
    NeuralKalmanFilter,
    Schedule,
    WindowBatch,
    WindowSampler,
    fit,
    learn_detection_probability,
)


def sequence(*frames):
    """Return one box per given position and frame."""
    rows = []
    for number, places in enumerate(frames, 1):
        lefts = np.array(places, float)
        boxes = np.stack([lefts, 0 * lefts, lefts + 40, 0 * lefts + 100], -1).reshape(-1, 4)
        rows.append((number, np.full(len(boxes), -1), boxes))
    return DetectionSequence("street", table(rows), range(1, len(frames) + 1), (480, 640))


def test_counts_of_a_small_example():
    """0 and 200 are objects, the second missed in frame 4 and gone after frame 5; 400 is clutter in frame 3."""
    frames = [0, 200], [0, 200], [0, 200, 400], [0], [0, 200], [0]
    model = make_distance_model()
    learn_detection_probability(model, WindowSampler([sequence(*frames)], num_frames=6))
    # Seen in the previous frame: 0 in frames 3 to 6, 200 in 3, 4 and 6, of which two are missed.
    seen = (7 - 2 + 1) / (7 + 2)
    # Lost: 200 in frame 5, and found. New: 400 in frame 4, and not found.
    assert model.detection_probability.tolist() == pytest.approx([seen, (1 + 1) / (1 + 2), (0 + 1) / (1 + 2)])


def test_second_pass_uses_the_first_estimate():
    """At position 4, the track lost at 0 is nearer than the one seen at 10, but less likely to be detected."""
    model = make_distance_model()
    learn_detection_probability(model, WindowSampler([sequence(*[[0, 10]] * 4, *[[10]] * 5, [4])], num_frames=10))
    seen, lost = 8 + 2, 0  # out of 8 + 3 and 5; by distance alone 9 and 1
    assert model.detection_probability.tolist() == pytest.approx([(seen + 1) / (11 + 2), (lost + 1) / (5 + 2), 1 / 2])


def test_padding_order_and_empty_boxes_have_no_effect():
    frames = [0, 200], [0, 200], [0, 200, 400], [0], [0, 200], [0]
    windows = WindowSampler([sequence(*frames)], num_frames=6)
    (window,) = list(windows)
    flat = torch.cat([window.boxes_xyxy, window.boxes_xyxy[:, :, :1] * 0], 2)
    valid = torch.cat([window.valid, torch.ones_like(window.valid[:, :, :1])], 2)
    more = WindowBatch(flat.flip(2), valid.flip(2), window.image_size, window.frames)
    one, other = make_distance_model(), make_distance_model()
    learn_detection_probability(one, windows)
    learn_detection_probability(other, [more])
    assert torch.equal(one.detection_probability, other.detection_probability)


def test_matching_prefers_likely_tracks():
    def owner(presence):
        model = make_distance_model()
        model.detection_probability.copy_(torch.tensor(presence))
        tracker = EMKalmanTracker(model=model)
        for frame in range(9):
            lefts = [10.0, 0.0] if frame < 4 else [10.0]
            tracker.update([[left, 0, left + 40, 100] for left in lefts], np.ones(len(lefts)))
        return tracker.update([[4.0, 0, 44, 100]], np.ones(1)).ids.tolist()

    assert owner([0.9, 0.9, 0.9]) == [2]  # the nearer one, lost for five frames
    assert owner([0.9, 0.1, 0.9]) == [1]  # the one seen in the previous frame


@pytest.mark.parametrize(
    ("motion", "dustbin"),
    [(MotionModel(), False), (MotionModel(scale="pixel"), True), (MotionModel(kind="random_walk"), True)],
)
def test_unsupported_models_are_unchanged(motion, dustbin):
    """Training does not fail either."""
    model = NeuralKalmanFilter(motion, dustbin=dustbin)
    windows = WindowSampler([sequence([0], [0], [0])], num_frames=3)
    assert fit(model, windows, Schedule(warmup_epochs=1, epochs=0, min_steps=0))
    assert model.detection_probability.tolist() == [1, 1, 1]
