"""The batched filter against a textbook filter with full matrices, one track at a time."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.plain_trackers import AreaFilter, HeightFilter
from mot_core.association import BatchedKalman, MotionNoise
from mot_core.association.kalman import BYTETRACK_NOISE, FILTER_ROWS, PP, PV, SORT_NOISE, VV, P, V
from mot_core.association.layouts import CenterAreaAspect, CenterAspectHeight

KINDS = {
    "sort": (SORT_NOISE, CenterAreaAspect(), AreaFilter),
    "bytetrack": (BYTETRACK_NOISE, CenterAspectHeight(), HeightFilter),
}


def random_boxes(rng, count):
    corner, size = rng.uniform(0, 500, (2, count)), rng.uniform(80, 200, (2, count))
    return np.concatenate([corner, corner + size])


def split(plain):
    """Return mean and covariance of the textbook filter as a column of a filter block; other entries must be zero."""
    n = len(plain.x)
    x, covariance = np.zeros(8), np.zeros((8, 8))
    x[:n], covariance[:n, :n] = plain.x, plain.P
    pp, pv, vv = covariance[:4, :4], covariance[:4, 4:], covariance[4:, 4:]
    for part in (pp, pv, vv):
        assert np.count_nonzero(part - np.diag(np.diag(part))) == 0  # the four filters are independent
    return np.concatenate([x, np.diag(pp), np.diag(pv), np.diag(vv)])


def assert_same_state(block, plains):
    expected = np.stack([split(plain) for plain in plains], 1)
    np.testing.assert_allclose(block, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_layout_round_trip(kind):
    _, layout, _ = KINDS[kind]
    boxes = random_boxes(np.random.default_rng(0), 9)
    measured = layout.measure(boxes)
    np.testing.assert_allclose(layout.corners(measured), boxes, rtol=1e-12)
    np.testing.assert_allclose(layout.heights(measured), boxes[3] - boxes[1], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_matrix_filter(kind, seed):
    noise, layout, plain_type = KINDS[kind]
    rng = np.random.default_rng(seed)
    kalman = BatchedKalman(noise)
    boxes = random_boxes(rng, 7)
    measured = layout.measure(boxes)
    block = kalman.start(measured, layout.heights(measured))
    plains = [plain_type(box) for box in boxes.T]
    assert_same_state(block, plains)
    for _ in range(30):
        dt = float(rng.choice([1.0, 1.0, 0.4, 2.5]))
        kalman.predict(block, layout.heights(block[P]), dt)
        for plain in plains:
            plain.predict(dt)
        assert_same_state(block, plains)
        seen = np.flatnonzero(rng.random(7) < 0.6)
        boxes += rng.normal(0, 1, boxes.shape)
        block[:, seen] = kalman.update(block[:, seen], layout.measure(boxes[:, seen]), layout.heights(block[P])[seen])
        for i in seen:
            plains[i].observe(boxes[:, i])
        assert_same_state(block, plains)
        corners = layout.corners(block[P])
        np.testing.assert_allclose(corners.T, [plain.box() for plain in plains], rtol=1e-9, atol=1e-9)


def test_time_step_per_track():
    kalman = BatchedKalman(BYTETRACK_NOISE)
    layout = CenterAspectHeight()
    boxes = random_boxes(np.random.default_rng(0), 3)
    measured = layout.measure(boxes)
    together = kalman.start(measured, measured[3])
    together[V] = 1.5
    steps = np.array([1.0, 0.5, 3.0])
    apart = [together[:, i : i + 1].copy() for i in range(3)]
    kalman.predict(together, together[3], steps)
    for i, dt in enumerate(steps):
        kalman.predict(apart[i], apart[i][3], float(dt))
    np.testing.assert_allclose(together, np.concatenate(apart, 1), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_covariance_is_positive_after_10000_steps(kind):
    noise, layout, _ = KINDS[kind]
    rng = np.random.default_rng(1)
    kalman = BatchedKalman(noise)
    measured = layout.measure(random_boxes(rng, 4))
    heights = layout.heights(measured)
    block = kalman.start(measured, heights)
    for step in range(10_000):
        kalman.predict(block, heights)
        seen = np.arange(4)[: 1 + step % 4]  # the last track is seen in every fourth frame
        block[:, seen] = kalman.update(block[:, seen], measured[:, seen], heights[seen])
        if step % 100 == 0:
            pp, pv, vv = block[PP], block[PV], block[VV]
            assert (pp > 0).all()
            assert (vv >= 0).all()
            assert (pp * vv - pv * pv >= 0).all()
    assert np.isfinite(block).all()
    np.testing.assert_allclose(block[P], measured, rtol=1e-9)


def test_update_after_gap_of_10000_steps():
    kalman = BatchedKalman(SORT_NOISE)
    measured = np.array([[50.0], [50.0], [200.0], [0.5]])
    block = kalman.start(measured, np.array([20.0]))
    for _ in range(10_000):
        kalman.predict(block, np.array([20.0]))
    assert (block[PP] * block[VV] >= block[PV] ** 2).all()
    found = kalman.update(block, measured + 30, np.array([20.0]))
    np.testing.assert_allclose(found[P], measured + 30, atol=0.1)  # the prior is vague, so the measurement dominates


# Squares of smaller numbers lose digits.
deviations = st.lists(
    st.tuples(*(st.just(0.0) | st.floats(1e-100, limit) for limit in (2, 50))), min_size=4, max_size=4
)


@settings(max_examples=50, deadline=None)
@given(deviations, deviations, deviations, deviations, deviations, st.floats(1, 500), st.floats(0.01, 100))
def test_noise_variances_match_definition(process, velocity, measurement, initial, initial_velocity, height, dt):
    """Variance = (relative * height + absolute)^2; prior and measurement are weighted by their inverse variances."""
    measurement = [(relative, absolute + 0.1) for relative, absolute in measurement]  # never exactly certain
    noise = MotionNoise(process, velocity, measurement, initial, initial_velocity)
    kalman = BatchedKalman(noise)
    heights = np.array([height])

    def variance(pairs):
        return np.array([[(relative * height + absolute) ** 2] for relative, absolute in pairs])

    block = kalman.start(np.full((4, 1), 10.0), heights)
    np.testing.assert_allclose(block[PP], variance(initial), rtol=1e-9)
    np.testing.assert_allclose(block[VV], variance(initial_velocity), rtol=1e-9)
    assert not block[V].any()
    assert not block[PV].any()
    kalman.predict(block, heights, dt)
    prior = variance(initial) + dt * dt * variance(initial_velocity) + dt * variance(process)
    np.testing.assert_allclose(block[PP], prior, rtol=1e-9)
    np.testing.assert_allclose(block[VV], variance(initial_velocity) + dt * variance(velocity), rtol=1e-9)
    certain = variance(measurement)
    found = kalman.update(block, np.full((4, 1), 20.0), heights)
    np.testing.assert_allclose(found[P], (10 * certain + 20 * prior) / (certain + prior), rtol=1e-9)
    # The filter subtracts from the prior variance, so the error is relative to the prior.
    rounding = 1e-15 * prior.max() + 1e-12
    np.testing.assert_allclose(found[PP], prior * certain / (certain + prior), rtol=1e-6, atol=rounding)


def test_update_keeps_input_and_supports_empty_blocks():
    kalman = BatchedKalman(BYTETRACK_NOISE)
    block = kalman.start(np.ones((4, 2)), np.ones(2))
    before = block.copy()
    kalman.update(block, np.full((4, 2), 3.0), np.ones(2))
    np.testing.assert_array_equal(block, before)
    empty = kalman.start(np.zeros((4, 0)), np.zeros(0))
    kalman.predict(empty, empty[3])
    assert kalman.update(empty, np.zeros((4, 0)), np.zeros(0)).shape == (FILTER_ROWS, 0)


@pytest.mark.parametrize("wrong", [((1.0, 0.0),) * 3, ((-1.0, 0.0),) * 4, ((np.nan, 0.0),) * 4, (1.0,) * 4])
def test_invalid_noise_is_rejected(wrong):
    good = ((0.0, 1.0),) * 4
    sentence = "MotionNoise.measurement must be four (relative, absolute) pairs of finite numbers >= 0"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        MotionNoise(good, good, wrong, good, good)
