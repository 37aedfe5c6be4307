"""Colors of identities, and drawing on a frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mot_core.io import BoxTable
from mot_core.visualization import draw_tracks, identity_color
from mot_core.visualization.colors import text_color
from mot_core.visualization.paths import path_between, paths_by_identity


@given(st.integers(0, 2**40))
def test_color_contrast(identity):
    color = identity_color(identity)
    assert all(0 <= channel <= 255 for channel in color)
    assert color == identity_color(identity)
    weights = (0.299, 0.587, 0.114)
    brightness = np.dot(color, weights)
    assert 40 < brightness < 225
    assert abs(brightness - np.dot(text_color(color), weights)) > 90


def test_colors_of_a_crowd_are_distinct():
    colors = np.array([identity_color(identity) for identity in range(1, 25)], float)
    distance = np.abs(colors[:, None] - colors).sum(-1) + 1e9 * np.eye(len(colors))
    assert distance.min() > 20
    assert distance.diagonal(1).min() > 150  # consecutive identities are often close in the image


def test_box_position_in_copy_of_frame():
    frame = Image.new("RGB", (200, 100), "white")
    drawn = draw_tracks(frame, np.array([4]), np.array([[100.0, 40.0, 150.0, 90.0]]))
    changed = np.argwhere((np.asarray(drawn) != 255).any(-1))
    assert changed.min(0)[1] == 100
    assert changed.max(0).tolist() == [90, 150]
    assert drawn.getpixel((125, 65)) == (255, 255, 255)  # the inside stays visible
    assert (np.asarray(frame) == 255).all()


@pytest.mark.parametrize("box", [[-50, -50, 20, 20], [180, 80, 260, 160], [-10, -10, 300, 300], [500, 500, 600, 600]])
def test_labels_stay_inside_the_image(box):
    frame = Image.new("RGB", (200, 100), "white")
    drawn = np.asarray(draw_tracks(frame, np.array([8]), np.array([box], float)))
    color = np.array(identity_color(8))
    assert (drawn == color).all(-1).sum() > 20


def test_gray_frame_without_tracks():
    drawn = draw_tracks(Image.new("L", (60, 40), 128), np.zeros(0, np.int64), np.zeros((0, 4)))
    assert drawn.mode == "RGB"
    assert drawn.getpixel((5, 5)) == (128, 128, 128)


def test_path_window_with_gaps():
    centers = {1: 10, 2: 20, 4: 40, 5: 50}
    boxes = [[x - 5, 0, x + 5, 10] for x in centers.values()]
    paths = paths_by_identity(BoxTable([*centers, 5], [7] * 4 + [9], [*boxes, [0, 0, 10, 10]]))
    assert list(paths) == [7, 9]
    assert path_between(paths[7], 2, 5)[:, 0].tolist() == [20, 40, 50]
    assert path_between(paths[9], 2, 5).tolist() == [[5, 5]]
    assert path_between(paths[7], -2, 1)[:, 0].tolist() == [10]
    assert paths_by_identity(BoxTable.empty()) == {}


def test_trail_fades():
    frame = Image.new("RGB", (200, 100), "white")
    path = np.array([[10.0, 50.0], [60.0, 50.0], [110.0, 50.0], [160.0, 50.0]])
    drawn = np.asarray(draw_tracks(frame, np.zeros(0, np.int64), np.zeros((0, 4)), {3: path}), float)
    old, new = drawn[50, 20], drawn[50, 150]
    assert (old < 255).any()
    assert np.abs(new - identity_color(3)).sum() < np.abs(old - identity_color(3)).sum()


def labels_of(drawn, ids):
    """Return the areas in the color of each identity beyond the outline of its box."""
    pixels = np.asarray(drawn)
    return {one: int((pixels == identity_color(one)).all(-1).sum()) for one in ids}


def test_labels_of_neighbors_do_not_cover_each_other():
    """Two boxes with the same corner: the label of the one behind moves, and both keep the same area."""
    boxes = np.array([[100.0, 100, 180, 200], [100, 100, 180, 210]])
    drawn = draw_tracks(Image.new("RGB", (480, 300), "white"), np.array([1, 2]), boxes)
    alone = [
        labels_of(draw_tracks(Image.new("RGB", (480, 300), "white"), np.array([one]), boxes[[one - 1]]), [one])[one]
        for one in (1, 2)
    ]
    found = labels_of(drawn, [1, 2])
    assert found[2] == pytest.approx(alone[1], abs=40)
    plate = alone[0] - 2 * (80 + 100)  # beyond the outline, which the box in front covers on three sides
    assert found[1] > 0.6 * plate


def test_labels_of_a_crowd_are_thinned():
    """Of 60 boxes on one spot, most labels are left out; of 40, all are drawn."""

    def drawn_labels(count):
        boxes = np.repeat([[200.0, 140.0, 216.0, 160.0]], count, 0)
        ids = np.arange(1, count + 1)
        drawn = draw_tracks(Image.new("RGB", (480, 300), "white"), ids, boxes)
        return np.asarray(drawn)

    crowd = (drawn_labels(60) != 255).any(-1).sum()
    single = (drawn_labels(1) != 255).any(-1).sum()
    assert crowd < 4 * single
    spread = np.array(
        [[20.0 * (n % 20), 40.0 * (n // 20) + 20, 20.0 * (n % 20) + 15, 40.0 * (n // 20) + 50] for n in range(60)]
    )
    ids = np.arange(1, 61)
    found = labels_of(draw_tracks(Image.new("RGB", (480, 300), "white"), ids, spread), ids.tolist())
    assert min(found.values()) > 0  # labels that fit are drawn
