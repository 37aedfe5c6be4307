"""Result files: row format, precision, and atomic writing."""

import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mot_core.io import KITTI_CLASSES, KittiResultWriter, ResultWriter, open_atomic, read_kitti, read_mot
from mot_core.structures import Tracks


def tracks_of(*ids, classes=None):
    boxes = np.array([[10.0 * i, 20, 10 * i + 30, 60] for i in range(len(ids))]).reshape(-1, 4)
    return Tracks(
        np.array(ids, np.int64), boxes, np.full(len(ids), 0.9), None if classes is None else np.array(classes)
    )


def write_frames(path, frames):
    with ResultWriter(path) as writer:
        for frame, tracks in frames.items():
            writer.write(frame, tracks)


def test_row_format(tmp_path):
    path = tmp_path / "new" / "folder" / "out.txt"
    with ResultWriter(path) as writer:
        writer.write(3, tracks_of(5, 2**40))
        writer.write(4, Tracks.empty())
        writer.write(7, tracks_of(5))
    assert path.read_bytes() == (
        b"3,5,0.0000,20.0000,30.0000,40.0000,0.9,-1,-1,-1\n"
        b"3,1099511627776,10.0000,20.0000,30.0000,40.0000,0.9,-1,-1,-1\n"
        b"7,5,0.0000,20.0000,30.0000,40.0000,0.9,-1,-1,-1\n"
    )
    assert os.listdir(path.parent) == ["out.txt"]


def test_tensors_and_arrays_give_the_same_file(tmp_path):
    tracks = Tracks(np.array([1]), np.array([[0.25, 1.5, 7.125, 9.75]]), np.array([0.5]))
    for name, one in (("array", tracks), ("tensor", tracks.torch(torch.zeros(1, requires_grad=True)))):
        with ResultWriter(tmp_path / name) as writer:
            writer.write(1, one)
    assert (tmp_path / "array").read_text() == (tmp_path / "tensor").read_text()


def test_optional_classes(tmp_path):
    with ResultWriter(tmp_path / "out.txt", with_classes=True) as writer:
        writer.write(1, tracks_of(1, 2, classes=[4, 0]))
    assert read_mot(tmp_path / "out.txt", kind="results").classes.tolist() == [4, 0]


boxes = hnp.arrays(np.float64, (7, 4), elements=st.floats(-3000, 3000)).map(
    lambda b: np.concatenate([b[:, :2], b[:, :2] + abs(b[:, 2:])], 1)
)


@given(boxes, hnp.arrays(np.float64, 7, elements=st.floats(0, 1)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_corners_are_accurate_to_1e4_of_a_pixel(tmp_path, boxes, scores):
    tracks = Tracks(np.arange(7), boxes, scores, np.arange(7))
    with ResultWriter(tmp_path / "out.txt") as writer:
        writer.write(1, tracks)
    with KittiResultWriter(tmp_path / "kitti.txt") as writer:
        writer.write(0, tracks)
    mot, kitti = read_mot(tmp_path / "out.txt", kind="results"), read_kitti(tmp_path / "kitti.txt", kind="results")
    for table in (mot, kitti):
        assert abs(table.boxes_xyxy - boxes).max() < 1e-4
        assert abs(table.scores - scores).max() < 1e-6
    assert kitti.classes.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ids": [3, 3]}, "ids of frame 2 must be unique, got 3 more than once"),
        ({"ids": [3, -1]}, "ids of frame 2 must be 0 or more, got -1"),
        ({"boxes_xyxy": [[0, 0, np.nan, 1], [0, 0, 1, 1]]}, "must be finite, got NaN or infinity"),
        ({"boxes_xyxy": [[0, 0, np.inf, 1], [0, 0, 1, 1]]}, "must be finite, got NaN or infinity"),
        ({"boxes_xyxy": [[5, 0, 4, 1], [0, 0, 1, 1]]}, "must be .left, top, right, bottom."),
        ({"boxes_xyxy": [[0, 0, 4, 1]]}, r"must have shape \(2, 4\), got \(1, 4\)"),
        ({"scores": [0.5, np.nan]}, "must be finite"),
    ],
)
def test_invalid_tracks_are_rejected_without_writing(tmp_path, change, complaint):
    good = {"ids": [3, 4], "boxes_xyxy": [[0, 0, 1, 1], [1, 1, 2, 2]], "scores": [0.5, 0.5]}
    wrong = Tracks(**{name: np.array(value) for name, value in (good | change).items()})
    with pytest.raises(ValueError, match=complaint):
        write_frames(tmp_path / "out.txt", {1: tracks_of(1), 2: wrong})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("frames", [(2, 1), (1, 1)])
def test_frames_must_increase(tmp_path, frames):
    writer = ResultWriter(tmp_path / "out.txt")
    with writer:
        writer.write(frames[0], tracks_of(1))
        with pytest.raises(ValueError, match="write frames in order"):
            writer.write(frames[1], tracks_of(1))


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit, RuntimeError, MemoryError])
def test_interruption_keeps_old_file(tmp_path, exception):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def interrupted():
        with ResultWriter(path) as writer:
            writer.write(1, tracks_of(*range(1000)))
            raise exception

    with pytest.raises(exception):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_full_disk_keeps_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mot_core.io.atomic.os.replace", full)
    with pytest.raises(OSError, match="No space left"), ResultWriter(path) as writer:
        writer.write(1, tracks_of(1))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_write_outside_of_block_is_rejected(tmp_path):
    writer = ResultWriter(tmp_path / "out.txt")
    with pytest.raises(RuntimeError, match="only inside its block; use: with ResultWriter"):
        writer.write(1, tracks_of(1))
    with writer:
        pass
    with pytest.raises(RuntimeError, match="only inside its block"):
        writer.write(1, tracks_of(1))
    assert (tmp_path / "out.txt").read_text() == ""


def test_unwritable_paths(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match=r"cannot write .*out\.txt: .*; choose a folder that you may write to"),
        open_atomic(tmp_path / "file" / "out.txt"),
    ):
        pass
    with pytest.raises(IsADirectoryError, match="it is a folder"), open_atomic(tmp_path):
        pass

    def deny(*_, **__):  # root may write to read-only folders, so the error is simulated
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mot_core.io.atomic.os.open", deny)
    with pytest.raises(PermissionError, match=r"cannot write .*: Permission denied"), open_atomic(tmp_path / "out.txt"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can write to every folder")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="choose a folder that you may write to"), open_atomic(tmp_path / "a"):
        pass


def test_kitti_rows_and_identities_by_class(tmp_path):
    path = tmp_path / "0000.txt"
    with KittiResultWriter(path, decimals=1) as writer:
        writer.write(0, tracks_of(1, 1, classes=[KITTI_CLASSES.index("Car"), KITTI_CLASSES.index("Pedestrian")]))
    assert path.read_text().splitlines()[1].split()[:3] == ["0", "1", "Pedestrian"]
    assert len(read_kitti(path, kind="results")) == 2
    for classes, complaint in (
        ([0, 0], "unique, got 1 more"),
        ([0, 8], "positions in KITTI_CLASSES"),
        ([0, -1], "0 to 7"),
    ):
        with pytest.raises(ValueError, match=complaint), KittiResultWriter(path) as writer:
            writer.write(0, tracks_of(1, 1, classes=classes))
