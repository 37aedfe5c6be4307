"""Camera motion of BoT-SORT: files, invalid functions, and tracks under a panning camera."""

import numpy as np
import pytest

from mot_core.association import BoTSort, CBIoU, read_camera_motion

BOXES = np.array([[100.0, 50, 140, 130], [300, 60, 350, 160], [500, 40, 530, 120]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2,1,0,0,0,1\n", "camera.txt:1: expected numbers frame,a11"),
        ("\n2,1,0,x,0,1,0\n", "camera.txt:2: expected numbers"),
        ("2,1,0,nan,0,1,0\n", "camera.txt:1: expected numbers"),
        ("2.5,1,0,0,0,1,0\n", "camera.txt:1: expected numbers"),
        ("2,1,1,0,1,1,0\n", "of an invertible transform, got '2,1,1,0,1,1,0'"),
        ("2,1,0,0,0,1,0\n2,1,0,0,0,1,0\n", "camera.txt:2: expected each frame once, got 2 again"),
    ],
)
def test_invalid_files(text, words, tmp_path):
    path = tmp_path / "camera.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        BoTSort(camera=str(path))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"camera.txt: expected a file with lines frame,a11"):
        read_camera_motion(tmp_path / "camera.txt")


@pytest.mark.parametrize("transform", [np.eye(3), [[1, 0, np.inf], [0, 1, 0]]])
def test_invalid_functions(transform):
    tracker = BoTSort(camera=lambda frame: transform)
    with pytest.raises(ValueError, match=r"camera: expected a finite affine transform of shape \(2, 3\), got"):
        tracker.update(BOXES, np.full(3, 0.9))


@pytest.mark.parametrize("first", [0, 1, 301])
def test_file_keeps_identities_under_a_jumping_camera(first, tmp_path):
    """The camera jumps by more than a box in some frames; the file is in real frame numbers."""
    jumps = {5: 170.0, 6: -90.0, 12: 240.0}
    path = tmp_path / "camera.txt"
    path.write_text("".join(f"{first + step},1,0,{x},0,1,{-x / 2}\n" for step, x in jumps.items()))
    with_camera, without = BoTSort(camera=str(path), first_frame=first), BoTSort()
    shift, seen = np.zeros(2), set()
    for step in range(20):
        shift = shift + np.array([jumps.get(step, 0.0), -jumps.get(step, 0.0) / 2])
        boxes = BOXES + np.tile(shift, 2)
        assert with_camera.update(boxes, np.full(3, 0.9)).ids.tolist() in ([], [1, 2, 3])
        seen |= set(without.update(boxes, np.full(3, 0.9)).ids.tolist())
    assert with_camera.update(boxes, np.full(3, 0.9)).ids.tolist() == [1, 2, 3]
    assert len(seen) > 3


@pytest.mark.parametrize(
    ("tracker", "settings", "words"),
    [
        (BoTSort, {"official_quirks": True}, "official_quirks must be False; only the paper is implemented"),
        (BoTSort, {"motion": "noise.json"}, "noise.json"),
        (BoTSort, {"first_frame": -1}, "first_frame must be 0 or more, got -1"),
        (CBIoU, {"official_quirks": True}, "official_quirks must be False"),
        (CBIoU, {"buffer": -0.1}, "buffer must be 0 or more"),
        (CBIoU, {"buffer": 0.6}, "buffer_second must be at least buffer, got 0.5"),
        (CBIoU, {"motion_frames": 0}, "motion_frames must be at least 1 step"),
    ],
)
def test_invalid_settings(tracker, settings, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        tracker(**settings)


def test_presets_of_the_papers():
    assert BoTSort.preset("paper").report == "filter"
    buffers = CBIoU.preset("paper").parameters()
    assert (buffers["buffer"], buffers["buffer_second"]) == (0.3, 0.5)
