"""How often tracks of each standing are found again, counted without labels."""

import numpy as np
import pytest
import torch

from _helpers.em_kalman_scenes import near_is_same, table
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
    """A box at each of the given places, frame by frame."""
    rows = []
    for number, places in enumerate(frames, 1):
        lefts = np.array(places, float)
        boxes = np.stack([lefts, 0 * lefts, lefts + 40, 0 * lefts + 100], -1).reshape(-1, 4)
        rows.append((number, np.full(len(boxes), -1), boxes))
    return DetectionSequence("street", table(rows), range(1, len(frames) + 1), (480, 640))


def test_counts_by_hand():
    """0 and 200 are objects, of which the second is missed in frame 4 and gone after 5; 400 is clutter of frame 3."""
    frames = [0, 200], [0, 200], [0, 200, 400], [0], [0, 200], [0]
    model = near_is_same()
    learn_detection_probability(model, WindowSampler([sequence(*frames)], num_frames=6))
    # Counted from frame 3 on. Seen in the frame before: 0 in frames 3 to 6, 200 in 3, 4 and 6, of which it misses two.
    seen = (7 - 2 + 1) / (7 + 2)
    # Lost: 200 in frame 5, and found. New: 400 in frame 4, and not found.
    assert model.detection_probability.tolist() == pytest.approx([seen, (1 + 1) / (1 + 2), (0 + 1) / (1 + 2)])


def test_what_was_counted_first_decides_who_is_counted_next():
    """At 4, the one lost at 0 is nearer than the one seen at 10, but not as likely to be there."""
    model = near_is_same()
    learn_detection_probability(model, WindowSampler([sequence(*[[0, 10]] * 4, *[[10]] * 5, [4])], num_frames=10))
    seen, lost = 8 + 2, 0  # of 8 + 3 and 5; by distance alone they are 9 and 1
    assert model.detection_probability.tolist() == pytest.approx([(seen + 1) / (11 + 2), (lost + 1) / (5 + 2), 1 / 2])


def test_padding_order_and_boxes_without_area_change_nothing():
    frames = [0, 200], [0, 200], [0, 200, 400], [0], [0, 200], [0]
    windows = WindowSampler([sequence(*frames)], num_frames=6)
    (window,) = list(windows)
    flat = torch.cat([window.boxes_xyxy, window.boxes_xyxy[:, :, :1] * 0], 2)
    valid = torch.cat([window.valid, torch.ones_like(window.valid[:, :, :1])], 2)
    more = WindowBatch(flat.flip(2), valid.flip(2), window.image_size, window.frames)
    one, other = near_is_same(), near_is_same()
    learn_detection_probability(one, windows)
    learn_detection_probability(other, [more])
    assert torch.equal(one.detection_probability, other.detection_probability)


def test_the_tracker_prefers_who_is_likely_to_be_there():
    def owner(presence):
        model = near_is_same()
        model.detection_probability.copy_(torch.tensor(presence))
        tracker = EMKalmanTracker(model=model)
        for frame in range(9):
            lefts = [10.0, 0.0] if frame < 4 else [10.0]
            tracker.update([[left, 0, left + 40, 100] for left in lefts], np.ones(len(lefts)))
        return tracker.update([[4.0, 0, 44, 100]], np.ones(1)).ids.tolist()

    assert owner([0.9, 0.9, 0.9]) == [2]  # the nearer one, lost for five frames
    assert owner([0.9, 0.1, 0.9]) == [1]  # the one that was seen in the frame before


@pytest.mark.parametrize(
    ("motion", "dustbin"),
    [(MotionModel(), False), (MotionModel(scale="pixel"), True), (MotionModel(kind="random_walk"), True)],
)
def test_a_model_that_cannot_track_stays_as_it_is(motion, dustbin):
    """Nor does it stop a training."""
    model = NeuralKalmanFilter(motion, dustbin=dustbin)
    windows = WindowSampler([sequence([0], [0], [0])], num_frames=3)
    assert fit(model, windows, Schedule(warmup_epochs=1, epochs=0, min_steps=0))
    assert model.detection_probability.tolist() == [1, 1, 1]
