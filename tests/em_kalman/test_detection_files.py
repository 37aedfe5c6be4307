"""Reading of detections from folders and files, without opening ground truth."""

import shutil

import pytest

from _helpers.opened_files import opened
from em_kalman import DetectionSequence, WindowSampler, read_detections
from mot_core.io import BoxTable, make_scene


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    for seed, name in enumerate(("MOT17-02-FRCNN", "MOT17-02-DPM", "MOT17-04-FRCNN")):
        make_scene(seed, 4, 40, (480, 640)).save(root, name)
    return root


@pytest.fixture
def train(clean, tmp_path):
    """Create three sequences that a test may modify."""
    return shutil.copytree(clean, tmp_path / "train")


def test_ground_truth_is_never_opened(train):
    """Includes sequences whose length only the ground truth states."""
    bare = train / "MOT17-02-DPM"
    (bare / "seqinfo.ini").unlink()
    with opened() as paths:
        found = read_detections(train, image_size=(480, 640))
    assert [one.name for one in found] == ["MOT17-02-DPM", "MOT17-02-FRCNN", "MOT17-04-FRCNN"]
    assert sum("det.txt" in path for path in paths) >= 3
    assert not [path for path in paths if "gt" in path.replace("\\", "/").split("/")]
    with opened() as paths:
        (bare / "gt" / "gt.txt").read_text()
    assert paths == [str(bare / "gt" / "gt.txt")]  # control: the audit hook sees ground truth


def test_sequence_patterns_and_detection_files(train):
    assert [one.name for one in read_detections(train, names=["*-FRCNN"])] == ["MOT17-02-FRCNN", "MOT17-04-FRCNN"]
    file = train / "MOT17-04-FRCNN" / "det" / "det.txt"
    one, other = read_detections([file, train / "MOT17-04-FRCNN"], image_size=(480, 640))
    assert (one.name, one.frames, one.image_size) == ("det", range(1, 41), (480, 640))
    assert one.table.boxes_xyxy.tolist() == other.table.boxes_xyxy.tolist()
    sure = read_detections(file, image_size=(480, 640), min_score=0.7)[0].table
    assert 0 < len(sure) < len(one.table)
    assert sure.scores.min() >= 0.7


def test_fallback_detections(train):
    folder = train / "MOT17-02-DPM"
    (folder / "det" / "det.txt").rename(folder / "det" / "own.txt")
    assert len(read_detections(train, "own,det")) == 3
    with pytest.raises(FileNotFoundError, match="MOT17-02-DPM has no detections 'det'"):
        read_detections(train)


def test_result_file_as_detections(tmp_path):
    (tmp_path / "out.txt").write_text("1,7,0,0,10,20,0.9,-1,-1,-1\n3,7,2,0,10,20,0.9,-1,-1,-1\n")
    (found,) = read_detections(tmp_path / "out.txt", image_size=(48, 64))
    assert (len(found.table), found.frames) == (2, range(1, 4))


def test_invalid_arguments(train, tmp_path):
    with pytest.raises(
        ValueError, match="root: expected detections, found none in an empty list; pass a folder or a file"
    ):
        read_detections(())
    with pytest.raises(ValueError, match=r"root: expected detections of \['\*-SDP'\], found none in .*train"):
        read_detections(train, names=["*-SDP"])
    with pytest.raises(ValueError, match=r"det.txt: expected image_size, which a text file does not declare"):
        read_detections(train / "MOT17-02-DPM" / "det" / "det.txt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_detections(tmp_path / "nowhere")
    flat = BoxTable([1, 1, 2], [-1] * 3, [[0, 0, 0, 20], [0, 0, 10, 20], [0, 0, 10, 20]])
    with pytest.raises(
        ValueError, match=r"street: expected boxes with an area, got 1 of 3 without.*left, top, width, height"
    ):
        WindowSampler([DetectionSequence("street", flat, range(1, 3), (48, 64))], num_frames=2)


def test_mistyped_frame_number(tmp_path):
    (tmp_path / "det.txt").write_text("1,-1,0,0,5,5,1\n30000000,-1,0,0,5,5,1\n")
    with pytest.raises(ValueError, match=r"det\.txt:2: expected a frame number near the one before, which is 1"):
        read_detections(tmp_path / "det.txt", image_size=(48, 64))
