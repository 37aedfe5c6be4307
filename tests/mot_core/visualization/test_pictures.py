"""Sheets, trajectories and videos as files."""

from __future__ import annotations

import sys
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from mot_core.extras import require
from mot_core.io import BoxTable, find_sequences, make_scene
from mot_core.visualization import (
    identity_color,
    save_sheet,
    save_trajectories,
    save_video,
    video,
    write_video,
)
from mot_core.visualization.frames import CANVAS, TrackedFrames, has_images


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    make_scene(num_objects=4, num_frames=20, image_size=(120, 161)).save(root, "park")
    (sequence,) = find_sequences(root, benchmark="generic")
    return sequence, sequence.ground_truth()


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """The same scene with images: frame n is gray with brightness 10 n."""
    root = tmp_path_factory.mktemp("filmed")
    folder = make_scene(num_objects=4, num_frames=20, image_size=(120, 161)).save(root, "park")
    (folder / "img1").mkdir()
    for frame in range(1, 21):
        Image.new("L", (161, 120), 10 * frame).save(folder / "img1" / f"{frame:06d}.jpg")
    (sequence,) = find_sequences(root, benchmark="generic")
    return sequence, sequence.ground_truth()


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def holds_color(picture, identity, tolerance=12):
    return (np.abs(picture.astype(int) - identity_color(identity)).max(-1) <= tolerance).sum() > 10


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], stream.average_rate


def test_background_is_image_or_canvas(scene, filmed):
    assert has_images(filmed[0])
    assert not has_images(scene[0])
    on_canvas = TrackedFrames(*scene, magnify=2).draw(7)
    on_image = TrackedFrames(*filmed, magnify=2).draw(7)
    assert on_canvas.size == on_image.size == (322, 240)
    assert on_canvas.getpixel((314, 232)) == CANVAS
    assert on_image.getpixel((320, 238)) == (70, 70, 70)
    for identity in scene[1].ids[scene[1].frame(7)]:
        assert holds_color(np.asarray(on_canvas), identity)


def test_boxes_are_scaled_with_the_picture(scene):
    sequence, tracks = scene
    alone = tracks.select((tracks.frames == 3) & (tracks.ids == tracks.ids[tracks.frame(3)][0]))
    color = np.array(identity_color(int(alone.ids[0])))
    edges = []
    for magnify in (2, 4):
        picture = np.asarray(TrackedFrames(sequence, alone, magnify=magnify).draw(3))
        rows = np.argwhere((picture == color).all(-1))[:, 0]
        edges.append(rows.max() / magnify)
    assert edges[0] == pytest.approx(min(alone.boxes_xyxy[0, 3], 119.5), abs=1.0)
    assert edges[0] == pytest.approx(edges[1], abs=1.0)


def test_size_falls_back_to_boxes(scene):
    sequence, _ = scene
    tracks = BoxTable([1], [1], [[10, 10, 300.5, 200]])
    frames = TrackedFrames(replace(sequence, image_size=None), tracks, magnify=1)
    assert frames.size == (300, 200)
    assert TrackedFrames(replace(sequence, image_size=None), BoxTable.empty()).draw(1).size == (1920, 1080)


def test_sheet_frames_are_evenly_spaced(filmed, tmp_path):
    sheet = pixels(save_sheet(*filmed, tmp_path / "new" / "sheet.png", columns=2, rows=2))
    height, width = sheet.shape[:2]
    # Frames 3, 8, 13 and 18, identified by the brightness in the lower right corner of each cell.
    corners = [sheet[y - 9, x - 9] for y in (height // 2 - 12, height) for x in (width // 2 - 12, width)]
    assert [round(corner.mean() / 10) for corner in corners] == [3, 8, 13, 18]


def test_sheet_of_fewer_frames_than_cells(filmed, tmp_path):
    sequence, tracks = filmed
    two = pixels(save_sheet(sequence.window(4, 5), tracks, tmp_path / "two.png"))
    one = pixels(save_sheet(sequence.window(4, 4), tracks, tmp_path / "one.png"))
    assert two.shape[1] == 2 * one.shape[1] + 12
    assert two.shape[0] == one.shape[0]


def test_trajectories_contain_every_identity(scene, tmp_path):
    picture = pixels(save_trajectories(*scene, tmp_path / "paths.png"))
    for identity in np.unique(scene[1].ids):
        assert holds_color(picture, identity)


def test_path_breaks_in_gaps(tmp_path, scene):
    x = np.arange(1, 21)
    boxes = np.column_stack([7 * x, 50 + 0 * x, 7 * x + 10, 60 + 0 * x])
    whole = BoxTable(x, np.ones(20), boxes)
    broken = whole.select((whole.frames < 8) | (whole.frames > 13))
    color = identity_color(1)

    def drawn(tracks):
        picture = pixels(save_trajectories(scene[0], tracks, tmp_path / "p.png")).astype(int)
        return (np.abs(picture - color).max(-1) < 12).sum()

    assert drawn(broken) < 0.85 * drawn(whole)


def test_pictures_without_tracks(scene, tmp_path):
    nothing = BoxTable.empty()
    assert save_trajectories(scene[0], nothing, tmp_path / "paths.png").stat().st_size
    assert save_sheet(scene[0], nothing, tmp_path / "sheet.png").stat().st_size
    frames, _ = decode(save_video(scene[0].window(1, 2), nothing, tmp_path / "video.mp4"))
    assert len(frames) == 2


def test_video_frames_and_rate(filmed, tmp_path):
    sequence, tracks = filmed
    seen = []
    path = save_video(sequence, tracks, tmp_path / "v.mp4", on_frame=lambda: seen.append(1))
    frames, rate = decode(path)
    assert rate == 30
    assert len(frames) == len(seen) == 20
    # The lower right corner, identified by its brightness; the encoder is slightly lossy.
    assert [frame[-10:, -10:].mean() for frame in frames] == pytest.approx([10 * n for n in range(1, 21)], abs=4)


def test_video_without_h264_falls_back(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "CODECS", [("a_codec_of_the_future", {}), *video.CODECS[1:]])
    with av.open(str(save_video(*scene, tmp_path / "v.mp4"))) as container:
        assert container.streams.video[0].codec.name == "mpeg4"


@pytest.mark.parametrize("rate", [7, 29.97, 14.985, 59.94])
def test_unusual_frame_rates(scene, tmp_path, rate):
    sequence, tracks = scene
    _, written = decode(save_video(replace(sequence, frame_rate=rate), tracks, tmp_path / "v.mp4"))
    assert float(written) == pytest.approx(rate, rel=1e-3)


def test_interrupted_video_leaves_no_file(tmp_path):
    def pictures():
        yield Image.new("RGB", (64, 48))
        raise KeyboardInterrupt

    (tmp_path / "v.mp4").write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "v.mp4", pictures(), 10)
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]
    assert (tmp_path / "v.mp4").read_bytes() == b"older"
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "empty.mp4", [], 10)
    assert not (tmp_path / "empty.mp4").exists()


@pytest.mark.parametrize(("extra", "module"), [("plot", "matplotlib"), ("plot", "PIL"), ("video", "av")])
def test_missing_extra_is_named(monkeypatch, extra, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"drawing needs {module}: pip install '\./packages/mot-core\[{extra}\]'"
    ):
        require(extra, "drawing")


def test_canvas_beyond_memory_is_rejected(scene):
    sequence, tracks = scene
    message = r"park: expected pictures of at most 89478485 pixels, got 1000000x1000000 from seqinfo\.ini or the boxes"
    with pytest.raises(ValueError, match=message):
        TrackedFrames(replace(sequence, image_size=(10**6, 10**6)), tracks)
