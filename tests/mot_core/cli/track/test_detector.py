"""`mot track --detector`: sources, cached detections, selection of frames and classes, and interruption."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from _helpers.painted_box import paint
from mot_core.io import KITTI_CLASSES, read_kitti, read_mot

FRAMES = 12
MODULE = """
import numpy as np

calls = []

class Finder:
    class_names = {0: "person", 2: "car"}

    def __call__(self, images):
        calls.append(len(images))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        found = []
        for image in images:
            rows, columns = np.nonzero(image[..., 0] > 150)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            found.append(np.array([[*box, 0.9, 2], [2, 2, 9.33333, 12, 0.8, 0]]))
        return found

stop_at = None
"""


@pytest.fixture
def finder(tmp_path, monkeypatch):
    """A detector in a module of the current folder: a moving car, and a person who stands still."""
    (tmp_path / "finder.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "finder", raising=False)
    import finder

    yield finder
    sys.modules.pop("finder", None)


@pytest.fixture
def pictures():
    return [Image.fromarray(paint((80, 128), (10 + 3 * n, 20, 34 + 3 * n, 60))) for n in range(FRAMES)]


@pytest.fixture
def folder(tmp_path, pictures):
    path = tmp_path / "walk"
    path.mkdir()
    for number, picture in enumerate(pictures, 1):
        picture.save(path / f"{number:06d}.png")
    return path


def test_a_folder_of_images(mot, finder, folder, tmp_path):
    done = mot("track", folder, "--detector", "finder:Finder", "--output", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    results = read_mot(tmp_path / "out" / "walk.txt", kind="results")
    assert results.frames.tolist() == [n for n in range(1, FRAMES + 1) for _ in range(2)]
    assert set(zip(results.ids.tolist(), results.classes.tolist(), strict=True)) == {(1, 2), (2, 0)}
    car = results.boxes_xyxy[results.classes == 2]
    np.testing.assert_allclose(car[:, 0], 10 + 3 * np.arange(FRAMES), atol=1.5)
    assert "person 1, car 1" in done.out
    assert "detector ms" in done.out
    record = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert (record["tracker"], record["detector"], record["every"]) == ("bytetrack", "finder:Finder", 1)
    assert "cost: mot_core" in (tmp_path / "out" / "run.yaml").read_text()


def test_a_second_run_skips_the_detector(mot, finder, folder, tmp_path):
    arguments = ("track", folder, "--detector", "finder:Finder", "--output", tmp_path / "out")
    assert mot(*arguments).code == 0
    first = (tmp_path / "out" / "walk.txt").read_text()
    cached = read_mot(tmp_path / "out" / "det" / "walk.txt", kind="detections")
    assert len(cached) == 2 * FRAMES
    assert len(finder.calls) == FRAMES
    done = mot(*arguments)
    assert "cached" in done.out
    assert len(finder.calls) == FRAMES
    assert (tmp_path / "out" / "walk.txt").read_text() == first
    assert mot(*arguments, "--max-age", 5).code == 0
    assert len(finder.calls) == FRAMES  # other parameters of the tracker need no detector
    assert mot(*arguments, "--max-frames", 4).code == 0
    assert len(finder.calls) == FRAMES + 4  # other frames do
    Image.new("RGB", (128, 80), "red").save(folder / "000001.png")
    assert mot(*arguments, "--max-frames", 4).code == 0
    assert len(finder.calls) == FRAMES + 8  # and so do other images


def test_classes_and_selected_frames(mot, finder, folder, tmp_path):
    arguments = ("track", folder, "--detector", "finder:Finder", "--output", tmp_path / "out")
    done = mot(*arguments, "--classes", "car", "--every", 3, "--max-frames", 3)
    assert (done.code, done.err) == (0, "")
    results = read_mot(tmp_path / "out" / "walk.txt", kind="results")
    assert results.frames.tolist() == [1, 4, 7]
    assert set(results.classes.tolist()) == {2}
    assert len(finder.calls) == 3
    done = mot(*arguments, "--classes", "cra")
    assert done.code == 1
    assert "got 'cra'; did you mean car?" in done.err
    done = mot(*arguments, "--every", 0)
    assert (done.code, done.err) == (1, "mot: error: every: expected at least 1, got 0\n")


def test_a_video_with_tracks_drawn(mot, finder, pictures, tmp_path):
    from mot_core.visualization import write_video

    video = write_video(tmp_path / "street.mp4", pictures, frame_rate=10)
    done = mot("track", video, "--detector", "finder:Finder", "--video", "--output", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["det", "run.yaml", "street.mp4", "street.txt"]
    assert len(np.unique(read_mot(tmp_path / "out" / "street.txt", kind="results").ids)) == 2


def test_interruption_keeps_the_tracks_so_far(mot, finder, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(finder, "stop_at", 6)
    done = mot("track", folder, "--detector", "finder:Finder", "--output", tmp_path / "out")
    assert done.code == 130
    assert "interrupted: the tracks of 5 frames of walk are kept; 0 of 1 sequences are finished" in done.err
    assert read_mot(tmp_path / "out" / "walk.txt", kind="results").frames.tolist() == [
        n for n in range(1, 6) for _ in "ab"
    ]
    assert not list((tmp_path / "out" / "det").glob("*"))  # a part must not count as the detections of this run
    monkeypatch.setattr(finder, "stop_at", None)
    assert mot("track", folder, "--detector", "finder:Finder", "--output", tmp_path / "out").code == 0
    assert len(np.unique(read_mot(tmp_path / "out" / "walk.txt", kind="results").frames)) == FRAMES


def test_invalid_use_is_one_sentence(mot, finder, folder, tmp_path):
    out = ("--output", tmp_path / "out")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    for words, arguments in {
        "add a detector with --detector onnx:FILE": (tmp_path / "clip.mp4", "--tracker", "sort"),
        "walk; add a detector with --detector onnx:FILE": (folder, "--tracker", "sort"),
        "none.mp4: expected a video, an image folder or": (tmp_path / "none.mp4", "--detector", "finder:Finder"),
        "expected a readable video": (tmp_path / "clip.mp4", "--detector", "finder:Finder"),
        "got motip, which detects by itself": (folder, "--tracker", "motip", "--detector", "finder:Finder"),
        "--video: expected a source that can be read again": ("rtsp://x/1", "--video", "--detector", "finder:Finder"),
        "expected KIND:ARGUMENT or module:callable, got 'finder'": (folder, "--detector", "finder"),
    }.items():
        done = mot("track", *arguments, *out)
        assert (done.code, words in done.err, done.err.count("\n")) == (1, True, 1), done.err
    assert not (tmp_path / "out").exists()


def test_kitti_frame_numbers_and_types(mot, finder, pictures, tmp_path):
    images = tmp_path / "training" / "image_02" / "0003"
    images.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(images / f"{number:06d}.png")
    arguments = ("track", tmp_path / "training", "--detector", "finder:Finder", "--output", tmp_path / "out")
    done = mot(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "Car 1, Pedestrian 1" in done.out
    results = read_kitti(tmp_path / "out" / "0003.txt", kind="results")
    assert results.frames.tolist() == [n for n in range(FRAMES) for _ in range(2)]
    car = results.boxes_xyxy[results.classes == KITTI_CLASSES.index("Car")]
    np.testing.assert_allclose(car[:, 0], 10 + 3 * np.arange(FRAMES), atol=1.5)
    assert set(results.classes.tolist()) == {KITTI_CLASSES.index("Car"), KITTI_CLASSES.index("Pedestrian")}
    first = (tmp_path / "out" / "0003.txt").read_text()
    assert "cached" in mot(*arguments).out
    assert (tmp_path / "out" / "0003.txt").read_text() == first
    assert mot(*arguments, "--classes", "person").code == 0
    results = read_kitti(tmp_path / "out" / "0003.txt", kind="results")
    assert set(results.classes.tolist()) == {KITTI_CLASSES.index("Pedestrian")}
    finder.Finder.class_names = {0: "zebra"}
    done = mot(*arguments)
    assert done.code == 1
    assert "expected class_names with types of KITTI (Car, Van, " in done.err
