import colorsys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.data import Augmentation, ImageFrame
from mot_core.data.color import ColorChange
from mot_core.data.geometry import View, fit_size

EVERYTHING = Augmentation(
    short_sides=(40, 60, 80),
    max_long_side=120,
    flip=0.5,
    crop=0.7,
    crop_short_sides=(60, 80),
    crop_sides=(30, 60),
    hue=0.2,
    saturation=0.4,
    brightness=0.4,
    contrast=0.4,
)


def painted(boxes, size=(90, 120), depth=True):
    """A black frame with objects painted red and with a depth of 200."""
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    image, map_ = np.zeros((*size, 3), np.uint8), np.zeros(size, np.float32)
    for x0, y0, x1, y1 in boxes.astype(int):
        image[y0:y1, x0:x1, 0] = 255
        map_[y0:y1, x0:x1] = 200
    ids = np.arange(len(boxes)) + 1
    return ImageFrame(image, boxes, ids, ids * 0, np.ones(len(ids)), ids < 0, "clip", 1, size, map_ if depth else None)


def extent(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6), x=st.integers(5, 80), y=st.integers(5, 50), w=st.integers(12, 35), h=st.integers(12, 35)
)
def test_boxes_and_depth_match_the_pixels(seed, x, y, w, h):
    frame = painted([[x, y, x + w, y + h]])
    rng = np.random.default_rng(seed)
    (view,) = EVERYTHING.views(frame.image_size, 1, rng)
    seen = view.apply(frame)
    assert seen.image.shape[:2] == seen.depth.shape == view.size
    if not len(seen.ids):
        return
    (box,) = seen.boxes_xyxy
    if min(box[2:] - box[:2]) < 3:  # a sliver can be thinner than the blur
        return
    np.testing.assert_allclose(extent(seen.image[..., 0] > 127), box, atol=1.01)
    np.testing.assert_allclose(extent(seen.depth > 100), box, atol=1.01)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_all_frames_of_a_clip_share_the_transform(seed):
    frame = painted([[20, 30, 60, 80]])
    one, other = EVERYTHING([frame, replace(frame, number=2)], np.random.default_rng(seed))
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
    assert (one.number, other.number) == (1, 2)
    again, _ = EVERYTHING([frame, frame], np.random.default_rng(seed))
    assert np.array_equal(one.image, again.image)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_moving_view_of_a_still(seed):
    frame = painted([[40, 30, 80, 60]])
    frames = Augmentation(shift=0.3, flip=0.5)([frame] * 5, np.random.default_rng(seed), still=True)
    assert {seen.image_size for seen in frames} == {(63, 84)}
    lefts = np.array([seen.boxes_xyxy[0] for seen in frames])
    steps = np.diff(lefts, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-9)
    assert abs(steps).max() > 0


def test_default_is_the_identity():
    frame = painted([[20, 30, 60, 80], [5, 5, 9, 9]])
    (seen,) = Augmentation()([frame], np.random.default_rng(0))
    assert seen.image is frame.image
    assert np.array_equal(seen.boxes_xyxy, frame.boxes_xyxy)


def test_double_flip_is_the_identity():
    frame = painted([[20, 30, 60, 80]])
    view = View((0, 0, 120, 90), (90, 120), flip=True)
    twice = view.apply(view.apply(frame))
    assert np.array_equal(twice.image, frame.image)
    assert np.array_equal(twice.boxes_xyxy, frame.boxes_xyxy)


def test_visibility_of_clipped_objects():
    frame = painted([[0, 0, 20, 20], [30, 30, 60, 60], [60, 30, 90, 60], [90, 0, 110, 20]])
    seen = View((40, 0, 100, 90), (90, 60)).apply(frame)
    assert seen.ids.tolist() == [2, 3, 4]
    np.testing.assert_allclose(seen.visibility, [2 / 3, 1, 0.5])
    np.testing.assert_allclose(seen.boxes_xyxy, [[0, 30, 20, 60], [20, 30, 50, 60], [50, 0, 60, 20]])


def test_unclipped_boxes():
    frame = painted([[-10, 0, 20, 20], [60, 30, 130, 60]])
    (seen,) = Augmentation(short_sides=(45,))([frame], np.random.default_rng(0), cut=False)
    assert seen.boxes_xyxy.tolist() == [[-5, 0, 10, 10], [30, 15, 65, 30]]
    assert seen.visibility.tolist() == [1, 1]


def test_frame_without_objects():
    (seen,) = EVERYTHING([painted([])], np.random.default_rng(3))
    assert seen.boxes_xyxy.shape == (0, 4)


def test_frames_of_different_sizes_are_rejected():
    frames = [painted([]), replace(painted([], (30, 40)), number=2)]
    with pytest.raises(
        ValueError, match="frame 2 of clip: expected 120x90 as in frame 1, got 40x30; use one size per sequence"
    ):
        Augmentation()(frames, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("size", "short_side", "limit", "expected"),
    [
        ((1080, 1920), 800, 1536, (800, 1422)),
        ((1080, 1920), 800, 1333, (750, 1333)),
        ((1920, 1080), 800, 1333, (1333, 750)),
        ((480, 640), 480, 10**9, (480, 640)),
        ((10, 3000), 800, 1333, (4, 1200)),
    ],
)
def test_resizing_rounds_like_detr(size, short_side, limit, expected):
    assert fit_size(size, short_side, limit) == expected


@given(hue=st.floats(-0.5, 0.5), saturation=st.floats(0.6, 1.0), brightness=st.floats(0.6, 1.0))
def test_colors_change_as_in_hsv(hue, saturation, brightness):
    color = np.array([[[200, 80, 40]]], np.uint8)
    h, s, v = colorsys.rgb_to_hsv(*(color[0, 0] / 255))
    expected = np.array(colorsys.hsv_to_rgb((h + hue) % 1, s * saturation, v * brightness)) * 255
    changed = ColorChange(hue, saturation, brightness).apply(color)[0, 0]
    np.testing.assert_allclose(changed, expected, atol=6)  # pillow stores hue in 8 bits


def test_contrast_and_identity_color_change():
    image = np.array([[[100, 127, 250]]], np.uint8)
    assert ColorChange(contrast=2.0, grey=127).apply(image).tolist() == [[[73, 127, 255]]]
    assert ColorChange().apply(image) is image


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flip": 1.5}, r"expected flip in \[0, 1\], got 1.5"),
        ({"hue": 0.6}, r"expected hue in \[0, 0.5\]"),
        ({"contrast": 1.0}, r"expected contrast in \[0, 1\)"),
        ({"short_sides": (0,)}, "expected sides of at least 1 pixel"),
        ({"crop_sides": (600, 384)}, "in ascending ranges"),
    ],
)
def test_invalid_augmentation_is_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)


def test_frames_beyond_memory_are_rejected():
    message = "resize: expected frames of at most 89478485 pixels, got 100000x75000 from 64x48; choose smaller sides"
    with pytest.raises(ValueError, match=message):
        Augmentation((100_000,), 100_000).views((48, 64), 1, np.random.default_rng(0))
