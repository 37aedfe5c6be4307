"""KITTI tracking files."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mot_core.io import KITTI_CLASSES, DataError, read_kitti
from mot_core.io.kitti import read_seqmap

LABEL = "3 7 Van 1 2 -1.57 10.0 20.0 40.0 60.0 2.0 1.8 4.4 -4.5 1.8 13.4 -2.1"


def write(folder, *lines):
    path = folder / "0000.txt"
    path.write_bytes("\r\n".join(lines).encode())
    return path


def test_columns(tmp_path):
    dont_care = "0 -1 DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1 -1 -1 -1"
    table = read_kitti(
        write(tmp_path, LABEL, dont_care, "", LABEL.replace("3 7 Van", "3 8 car") + " 0.25"), kind="results"
    )
    assert table.frames.tolist() == [0, 3, 3]
    assert table.ids.tolist() == [-1, 7, 8]
    assert [KITTI_CLASSES[number] for number in table.classes] == ["DontCare", "Van", "Car"]
    assert table.boxes_xyxy[1].tolist() == [10, 20, 40, 60]
    assert table.scores.tolist() == [1, 1, 0.25]
    assert (table.truncation.tolist(), table.occlusion.tolist()) == ([-1, 1, 1], [-1, 2, 2])
    assert table.lines.tolist() == [2, 1, 4]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (" -2.1", "", "expected 17 or 18 columns .*, got 16"),
        ("Van", "Vaan", "type must be one of Car, Van, .*, got 'Vaan'"),
        ("3 7", "-1 7", "frame must be 0 or more, got -1"),
        ("3 7", "3.5 7", "frame must be a whole number, got 3.5"),
        ("3 7", "3 -1", "id must be 0 or more, except for DontCare, got -1"),
        ("1 2 -1.57", "0.5 2 -1.57", "truncated must be a whole number, got 0.5"),
        ("10.0 20.0", "nan 20.0", "left must be a finite number, got 'nan'"),
        ("10.0 20.0", "10.0 inf", "top must be a finite number, got 'inf'"),
        ("10.0 20.0", "1_0 20.0", "left must be a finite number, got '1_0'"),
        ("10.0 20.0", "10.0\xa0 20.0", r"left must be a finite number, got '10.0\\xa0'"),
        ("10.0 20.0", "1e17 20.0", r"left must be below 9007199254740992, got 1e17"),
        ("10.0 20.0", "x 20.0", "left must be a finite number, got 'x'"),
        ("10.0 20.0", "41.0 20.0", "must be left, top, right, bottom of a box, got 41 20 40 60"),
        ("10.0 20.0", "-1e12 20.0", "must lie within"),
    ],
)
def test_invalid_line_is_named(tmp_path, old, new, complaint):
    path = write(tmp_path, LABEL.replace("3 7", "1 7"), LABEL.replace(old, new))
    with pytest.raises(DataError, match=complaint) as caught:
        read_kitti(path, kind="ground_truth")
    assert str(caught.value).startswith(f"{path}:2: ")


def test_duplicate_identity_in_frame(tmp_path):
    path = write(tmp_path, LABEL, LABEL.replace("Van", "Pedestrian"))
    assert len(read_kitti(path, kind="detections")) == 2
    assert len(read_kitti(path, kind="results")) == 2, "results are scored per class"
    with pytest.raises(DataError, match=":2: id 7 is already in frame 3, at line 1"):
        read_kitti(path, kind="ground_truth")
    with pytest.raises(DataError, match=":2: id 7"):
        read_kitti(write(tmp_path, LABEL, LABEL), kind="results")


def test_detections_without_area_are_rejected(tmp_path):
    path = write(tmp_path, LABEL.replace("10.0 20.0", "40.0 20.0"))
    assert len(read_kitti(path, kind="ground_truth")) == 1
    with pytest.raises(DataError, match=":1: columns 7 to 10"):
        read_kitti(path, kind="detections")
    thin = write(tmp_path, LABEL.replace("10.0 20.0", "39.9995 20.0"))
    with pytest.raises(DataError, match=r"of a box of at least 0\.001 pixels"):
        read_kitti(thin, kind="detections")


@given(st.lists(st.sampled_from(["0", "7", "-1", "2.5", "Car", "x", "nan", "1e400", "\n"]), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_arbitrary_text_is_read_or_rejected(tmp_path, words):
    text = " ".join(words)
    path = write(tmp_path, text)
    rows = [line for line in text.splitlines() if line.strip()]
    with contextlib.suppress(DataError):
        assert len(read_kitti(path, kind="detections")) == len(rows)


def test_sequence_map(tmp_path):
    assert read_seqmap(tmp_path) == {}
    path = tmp_path / "evaluate_tracking.seqmap.training"
    path.write_text("0000 empty 000000 000154\n0001 empty 000000 000447\n")
    assert read_seqmap(tmp_path) == {"0000": 154, "0001": 447}
    path.write_text("0000 empty 000000 000154\n0001\n")
    with pytest.raises(DataError, match=r"training:2: expected 'name empty 000000 length', got '0001'"):
        read_seqmap(tmp_path)
