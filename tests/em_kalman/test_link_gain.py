"""Linking with the motion noise of a model."""

import numpy as np

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import EMKalmanTracker, MotionModel
from mot_core.association import link_tracks
from mot_core.io import BoxTable


def test_gain_follows_the_learned_noise():
    """A track turns by 60 pixels within 8 frames: a model that expects turns links it, another one does not."""
    frames = [1, 2, 3, 4, 5, 13]
    boxes = [
        [x, y, x + 40, y + 100] for x, y in ((100, 200), (104, 200), (108, 200), (112, 200), (116, 200), (148, 260))
    ]
    table = BoxTable(frames, [1] * 5 + [2], boxes)
    found = {}
    for q in (0.03**2, 0.0002**2):
        model = make_distance_model()
        model.set_motion(MotionModel(q=q))
        gain = EMKalmanTracker(model=model).link_gain()
        values = []

        def keep(given, gain=gain, values=values):
            values.append(gain(given))
            return values[0]

        ids = link_tracks(table, 20, gain=keep, image_size=(480, 640)).ids
        found[q] = len(set(ids.tolist())), values[0][0]
    (turning, more), (straight, less) = found.values()
    assert (turning, straight) == (1, 2)
    assert more > less


def test_gain_equals_the_normal_density_of_the_filter():
    """One box before the gap: the predicted variance is p0 + v0 g^2 + q g, and that of a detection is r."""
    model = make_distance_model()
    motion = MotionModel(q=0.01**2, r=0.04**2, p0=0.05**2, v0=0.1**2)
    model.set_motion(motion)
    gain = EMKalmanTracker(model=model).link_gain()
    kept = []
    table = BoxTable([1, 5], [1, 2], [[100, 200, 140, 300], [130, 200, 170, 300]])
    link_tracks(table, 20, gain=lambda given: kept.append(gain(given)) or kept[0], image_size=(480, 640))
    gap, height = 4, 100
    variance = height**2 * (0.05**2 + 0.1**2 * gap**2 + 0.04**2)
    value = -(30**2) / 2 / variance - np.log(2 * np.pi * variance)
    value -= 0.5 * np.log(2 * np.pi * (0.08**2 + 0.03**2 * gap))
    value -= np.log(400) + np.log(2 / 5 / (480 * 640) / 2)
    assert abs(kept[0][0] - value) < 1e-9
