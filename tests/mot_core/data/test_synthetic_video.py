import numpy as np
import pytest

from mot_core.data import SyntheticVideo
from mot_core.data.sprites import FAR, NEAR, Scene


def scene(seed, count=3, size=(64, 96), frames=20):
    return Scene(count, frames, size, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(6))
def test_boxes_visibility_and_depth_match_the_pixels(seed):
    """Render a scene with and without each figure; the pixels that differ belong to the figure."""
    for position in (0, 7, 19):
        whole = scene(seed)
        drawn = whole.render(position)
        assert drawn.image.max() <= 255
        for number, figure in enumerate(whole.figures):
            left = scene(seed)
            left.figures.pop(number)
            mask = left.render(position).depth != drawn.depth
            if not figure.present[position]:
                assert not mask.any()
                continue
            x0, y0, x1, y1 = drawn.boxes_xyxy[number]
            rows, columns = np.nonzero(mask)
            assert (columns + 1 > x0).all()
            assert (columns < x1).all()
            assert (rows + 1 > y0).all()
            assert (rows < y1).all()
            assert (drawn.depth[mask] == np.float32(figure.depths[position])).all()
            assert mask.any() == (drawn.visibility[number] > 0)
            width, height = x1 - x0, y1 - y0
            share = {0: 1.0, 1: np.pi / 4, 2: 0.5}[figure.shape]
            assert mask.sum() == pytest.approx(drawn.visibility[number] * share * width * height, rel=0.15, abs=3)
            if drawn.visibility[number] == 1:
                extent = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                np.testing.assert_allclose(extent, [x0, y0, x1, y1], atol=2.5)  # the tips of a diamond are thin


def test_near_figures_occlude_far_ones():
    hidden = 0
    for seed in range(30):
        made = scene(seed, count=6)
        drawn = made.render(0)
        for figure, share in zip(made.figures, drawn.visibility, strict=True):
            x, y = figure.centers[0].astype(int)
            if share < 0.3 and figure.present[0] and 0 <= y < 64 and 0 <= x < 96:
                hidden += drawn.depth[y, x] > figure.depths[0]
        assert drawn.depth.min() >= 0
        assert drawn.depth.max() <= NEAR
        assert all(figure.depths.min() >= FAR for figure in made.figures)
    assert hidden >= 3


def frames(**arguments):
    options = {"num_videos": 4, "num_frames": 6, "image_size": (40, 56)} | arguments
    return SyntheticVideo(**options).read(2, [5])[0]


def test_frames_are_deterministic_in_any_order():
    video = SyntheticVideo(num_videos=4, num_frames=6, image_size=(40, 56))
    in_order = video.read(2, range(6))
    again = {frame.number: frame for frame in video.read(2, [5, 0, 3])}
    for number in (1, 4, 6):
        assert np.array_equal(in_order[number - 1].image, again[number].image)
        assert np.array_equal(in_order[number - 1].boxes_xyxy, again[number].boxes_xyxy)
    assert np.array_equal(frames().image, frames(num_videos=100).image)


def test_splits_seeds_and_videos_differ():
    images = [frames().image, frames(split="val").image, frames(split="test").image, frames(seed=1).image]
    images.append(SyntheticVideo(4, 6, (40, 56)).read(1, [5])[0].image)
    assert len({image.tobytes() for image in images}) == 5


def test_frame_step_selects_scene_frames(tmp_path):
    options = {"num_videos": 8, "image_size": (40, 56), "with_depth": True}
    slow, fast = SyntheticVideo(num_frames=24, **options), SyntheticVideo(num_frames=6, frame_step=4, **options)
    for video in range(8):
        for a, b in zip(slow.read(video, range(0, 24, 4)), fast.read(video, range(6)), strict=True):
            assert (a.number - 1) // 4 + 1 == b.number
            for name in ("image", "boxes_xyxy", "ids", "visibility", "ignore", "depth"):
                assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert "frameRate=6.25" in (fast.save(tmp_path, 0) / "seqinfo.ini").read_text()


def test_entries_exits_and_occlusions():
    video = SyntheticVideo(num_videos=30, num_frames=20, num_objects=(2, 5))
    counts, changes, overlaps, ignored = set(), 0, 0, 0
    for number in range(30):
        seen = [frame.select(~frame.ignore) for frame in video.read(number, range(0, 20, 4))]
        identities = [frozenset(frame.ids.tolist()) for frame in seen]
        counts.add(max(max(ids, default=0) for ids in identities))
        changes += len(set(identities)) > 1
        overlaps += any((frame.visibility < 0.7).any() for frame in seen)
        ignored += any(frame.ignore.any() for frame in video.read(number, [0]))
        assert all(len(frame.ids) == len(set(frame.ids.tolist())) for frame in seen)
    assert counts == {2, 3, 4, 5}
    assert changes >= 5
    assert overlaps >= 10
    assert ignored >= 1


@pytest.mark.parametrize("size", [(32, 32), (96, 160), (200, 120), (270, 480)])
def test_image_sizes(size):
    frame = frames(image_size=size, num_objects=(0, 0), with_depth=True)
    assert frame.image.shape == (*size, 3)
    assert frame.depth.shape == size
    assert frame.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_videos": 0}, "num_videos: expected at least 1, got 0"),
        ({"frame_step": 0}, "frame_step: expected at least 1, got 0"),
        ({"image_size": (16, 64)}, "at least 32 pixels, got"),
        ({"num_objects": (5, 2)}, "smallest and largest number of figures"),
        ({"split": "training"}, "one of train, val, test, got 'training'"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticVideo(**arguments)
    with pytest.raises(IndexError, match="expected one of 2 videos of 3 frames"):
        SyntheticVideo(2, 3).read(0, [3])


def test_likeness_of_the_figures():
    def colors(likeness):
        video = SyntheticVideo(1, 1, (96, 160), (4, 4), seed=3, likeness=likeness)
        rng = np.random.default_rng((3, 0, 0))
        rng.integers(4, 5)
        scene = Scene(4, 1, (96, 160), rng, likeness)
        np.testing.assert_array_equal(video.read(0, [0])[0].image, scene.render(0).image)
        return np.stack([figure.colors.astype(int) for figure in scene.figures]), scene

    different, _ = colors(0.0)
    close, scene = colors(0.9)
    equal, same = colors(1.0)
    assert len({figure.shape for figure in scene.figures}) == 1
    spread = [np.ptp(values, axis=0).max() for values in (different, close, equal)]
    assert spread[0] > 100
    assert spread[1] < 0.15 * spread[0]
    assert spread[2] == 0
    assert all(np.array_equal(figure.waves, same.figures[0].waves) for figure in same.figures)


def test_likeness_changes_sizes_and_keeps_paths_and_depth():
    def figures(likeness):
        return Scene(4, 20, (96, 160), np.random.default_rng(3), likeness).figures

    def size(figure):
        # The farthest depth is shown at 0.75 and the nearest at 1.25 times the size in the middle.
        return figure.sides / (0.75 + 0.5 * (figure.depths - 80) / (250 - 80))[:, None]

    first = size(figures(0.0)[0])
    for before, close, same in zip(*map(figures, (0.0, 0.5, 1.0)), strict=True):
        for figure in (close, same):
            np.testing.assert_array_equal(figure.centers, before.centers)
            np.testing.assert_array_equal(figure.depths, before.depths)
        np.testing.assert_allclose(size(close), (size(before) + first) / 2)
        np.testing.assert_allclose(size(same), first)


@pytest.mark.parametrize("likeness", [-0.1, 1.1, float("nan")])
def test_invalid_likeness(likeness):
    with pytest.raises(ValueError, match="likeness: expected a number from 0 to 1"):
        SyntheticVideo(likeness=likeness)
