"""MOTChallenge files: accepted spellings, and rejected rows with their line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mot_core.io import BoxTable, DataError, read_mot, write_mot

ROW = "1,7,10,20,30,40,1,1,0.5"
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_of_a_ground_truth(tmp_path):
    table = read_mot(write(tmp_path, "2,7,10,20,30,40,1,3,0.5\n1,8,-5.5,0,1,2,0,12,-1\n"), kind="ground_truth")
    assert table.frames.tolist() == [1, 2]
    assert table.ids.tolist() == [8, 7]
    assert table.boxes_xyxy.tolist() == [[-5.5, 0, -4.5, 2], [10, 20, 40, 60]]
    assert table.scores.tolist() == [0, 1]
    assert table.classes.tolist() == [12, 3]
    assert table.visibility.tolist() == [1, 0.5]  # -1 means unknown
    assert table.lines.tolist() == [2, 1]
    assert {column.dtype for column in (table.frames, table.ids, table.classes, table.lines)} == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ROW, id="no line end"),
        pytest.param(ROW + "\r\n", id="windows"),
        pytest.param("\ufeff" + ROW + "\n", id="byte-order mark"),
        pytest.param("\n\n" + ROW + "\n  \n\n", id="blank lines"),
        pytest.param(ROW.replace(",", ", ") + " \n", id="blanks after commas"),
        pytest.param(ROW.replace(",", " ") + "\n", id="blanks"),
        pytest.param(ROW.replace(",", "\t") + "\n", id="tabs"),
        pytest.param("1.0,7.0,1e1,2.0E+1,30.,40.000,1.0,1.0,.5\n", id="floats"),
    ],
)
def test_equivalent_spellings(tmp_path, text):
    table = read_mot(write(tmp_path, text), kind="ground_truth")
    assert (table.frames.tolist(), table.ids.tolist(), table.classes.tolist()) == ([1], [7], [1])
    assert table.boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    assert table.visibility.tolist() == [0.5]


@pytest.mark.parametrize("columns", [6, 7, 8, 9, 10])
def test_number_of_columns(tmp_path, columns):
    fields = ["3", "7", "10", "20", "30", "40", "0.25", "2", "0.5", "-1"][:columns]
    table = read_mot(write(tmp_path, ",".join(fields)), kind="results")
    assert table.scores.tolist() == [1.0 if columns == 6 else 0.25]
    assert table.classes.tolist() == [2 if columns in (8, 9) else -1]


def test_ten_columns_with_class_or_world_coordinates(tmp_path):
    with_class = read_mot(write(tmp_path, "1,1,0,0,1,1,1,3,-1,-1\n2,1,0,0,1,1,1,4,-1,-1"), kind="results")
    assert with_class.classes.tolist() == [3, 4]
    in_the_world = read_mot(write(tmp_path, "1,1,0,0,1,1,1,3,-1,-1\n2,1,0,0,1,1,1,4.5,2.5,0"), kind="ground_truth")
    assert in_the_world.classes.tolist() == [-1, -1]


def test_empty_file(tmp_path):
    for text in ("", "\n", "\ufeff\r\n"):
        assert len(read_mot(write(tmp_path, text), kind="results")) == 0


def test_large_and_zero_identities(tmp_path):
    ids = [0, 2**31, 2**40, 2**53 - 1]
    rows = "\n".join(f"1,{i},0,0,1,1,1" for i in ids)
    assert read_mot(write(tmp_path, rows), kind="results").ids.tolist() == ids


def test_boxes_without_area(tmp_path):
    path = write(tmp_path, "1,1,10,20,0,40,1")
    assert read_mot(path, kind="ground_truth").boxes_xyxy.tolist() == [[10, 20, 10, 60]]
    assert len(read_mot(path, kind="results")) == 1
    with pytest.raises(ValueError, match=r"file\.txt:1: width must be at least 0.001 pixels, got 0"):
        read_mot(path, kind="detections")


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("1,7,10,20", "expected 9 columns as in most lines, got 4"),
        ("1,7,10,20,30,40,1,1,", "visibility must be a finite number, got ''"),
        ("1,7,10,20,30,40,1,1,0.5,0,0", "expected 9 columns as in most lines, got 11"),
        ("1,7,10,2O,30,40,1,1,0.5", "top must be a finite number, got '2O'"),
        ("1,7,1_0,20,30,40,1,1,0.5", "left must be a finite number, got '1_0'"),
        ("1,7,nan,20,30,40,1,1,0.5", "left must be a finite number, got 'nan'"),
        ("1,7,10,20,30,-inf,1,1,0.5", "height must be a finite number, got '-inf'"),
        ("1,7,10,20,30,40,1,1,nan", "visibility must be a finite number"),
        ("0,7,10,20,30,40,1,1,0.5", "frame must be a whole number from 1, got 0"),
        ("1.5,7,10,20,30,40,1,1,0.5", "frame must be a whole number from 1, got 1.5"),
        ("1,7.25,10,20,30,40,1,1,0.5", "id must be a whole number"),
        ("1,9007199254740993,10,20,30,40,1,1,0.5", "id must be a whole number below"),
        ("1,-1,10,20,30,40,1,1,0.5", "id must be 0 or more, got -1"),
        ("1,7,10,20,-30,40,1,1,0.5", "width must be 0 or more, got -30"),
        ("1,7,10,20,30,-0.5,1,1,0.5", "height must be 0 or more, got -0.5"),
        ("1,7,1e30,20,30,40,1,1,0.5", "left must be within 1e"),
        ("1,7,10,20,30,40,1,1.5,0.5", "class must be a whole number, got 1.5"),
        ("2,4,10,20,30,40,1,1,0.5", "id 4 is already in frame 2, at line 2"),
        ("1,7,\u0661,20,30,40,1,1,0.5", "left must be a finite number, got '\u0661'"),
        ("1,7,10,\xa020,30,40,1,1,0.5", r"top must be a finite number, got '\\xa020'"),
        ("1,7,10,20,30,40,1,1,0.5\x0c", r"visibility must be a finite number, got '0.5\\x0c'"),
        ("1,7,10,20,30,40,1,1,0.5\u2028", r"visibility must be a finite number, got '0.5\\u2028'"),
        ("frame,id,left,top,width,height,conf,class,visibility", "frame must be a finite number, got 'frame'"),
    ],
)
@pytest.mark.parametrize("kind", ["ground_truth", "results"])
def test_invalid_line_is_named(tmp_path, bad, complaint, kind):
    good = [f"{frame},4,10,20,30,40,1,1,0.5" for frame in (1, 2, 3, 4)]
    path = write(tmp_path, "\n".join([*good[:3], bad, good[3]]))
    with pytest.raises(ValueError, match=complaint) as caught:
        read_mot(path, kind=kind)
    assert str(caught.value).startswith(f"{path}:4: ")
    assert "; " in str(caught.value), "the message states a remedy"


def test_other_tables_are_rejected(tmp_path):
    with pytest.raises(DataError, match=r":1: expected 6 to 10 columns .*, got 5; .* \(and 1 more\)"):
        read_mot(write(tmp_path, "1,2,3,4,5\n1,2,3,4,5\n"), kind="results")


def test_first_invalid_line_is_named(tmp_path):
    path = write(tmp_path, "1,1,0,0,5,5,1\n1,1,0,0,5,5,1\n2,1,0,0,-5,5,1\n3,1,0\n")
    with pytest.raises(DataError, match=r":2: id 1 .* \(and 2 more\)$"):
        read_mot(path, kind="results")


def test_identities_of_detections_are_ignored(tmp_path):
    table = read_mot(write(tmp_path, "1,-1,0,0,5,5,1\n1,-1,9,9,5,5,1\n1,3,9,9,5,5,1\n1,3,7,7,5,5,1"), kind="detections")
    assert len(table) == 4


@pytest.mark.parametrize("raw", [ROW.encode("utf-16"), b"\xff\xd8\xff\xe0 a picture", bytes(range(256))])
def test_binary_content(tmp_path, raw):
    with pytest.raises(ValueError, match=r"file\.txt: expected .* as text in UTF-8"):
        read_mot(write(tmp_path, raw), kind="ground_truth")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no result file .*none\.txt"):
        read_mot(tmp_path / "none.txt", kind="results")
    with pytest.raises(ValueError, match="expected a result file, got a folder"):
        read_mot(tmp_path, kind="results")
    with pytest.raises(ValueError, match="kind must be one of ground_truth, detections, results, got 'gt'"):
        read_mot(tmp_path, kind="gt")


@given(st.text(alphabet=st.sampled_from("0123456789.,-+eEnaif \t\n\r_\ufeffx\x00"), max_size=80))
@SHARED_FOLDER
def test_arbitrary_text_is_read_or_rejected(tmp_path, text):
    path = write(tmp_path, text)
    try:
        table = read_mot(path, kind="detections")
    except DataError:
        return
    lines = [line for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
    assert len(table) == len(lines)
    assert np.isfinite(table.boxes_xyxy).all()
    for frame, line in zip(table.frames, table.lines, strict=True):
        fields = text.removeprefix("\ufeff").splitlines()[line - 1].replace(",", " ").split()
        assert float(fields[0]) == frame


numbers = st.floats(-1e4, 1e4).map(lambda value: round(value, 3))
sizes = st.floats(0.001, 1e4).map(lambda value: round(value, 3))
rows = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 2**52), numbers, numbers, sizes, sizes, st.integers(0, 1)),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[:2],
)


@given(rows, st.data())
@SHARED_FOLDER
def test_invalid_field_is_located(tmp_path, good, data):
    lines = [[str(field) for field in row] for row in good]
    line = data.draw(st.integers(0, len(lines) - 1), label="line")
    column = data.draw(st.integers(0, 6), label="column")
    fault = data.draw(st.sampled_from(["", "x", "nan", "inf", "-inf", "1e400", "0x1", "1;2"]), label="fault")
    lines[line][column] = fault
    path = write(tmp_path, "\n".join(map(",".join, lines)))
    with pytest.raises(ValueError, match=f":{line + 1}: "):
        read_mot(path, kind="ground_truth")


@given(rows, st.randoms(use_true_random=False))
@SHARED_FOLDER
def test_frame_order_invariance(tmp_path, good, random):
    shuffled = random.sample(good, len(good))
    table = read_mot(write(tmp_path, "\n".join(",".join(map(str, row)) for row in shuffled)), kind="ground_truth")
    by_frame = sorted(shuffled, key=lambda row: row[0])  # stable: file order within a frame
    assert list(zip(table.frames.tolist(), table.ids.tolist(), strict=True)) == [row[:2] for row in by_frame]
    expected = [[left, top, left + width, top + height] for _, _, left, top, width, height, _ in by_frame]
    assert table.boxes_xyxy.tolist() == expected


@given(rows, st.integers(2, 6))
@SHARED_FOLDER
def test_write_read_round_trip(tmp_path, good, decimals):
    frames, ids, left, top, width, height, conf = map(np.array, zip(*good, strict=True))
    boxes = np.stack([left, top, left + width, top + height], -1)
    table = BoxTable(frames, ids, boxes, conf, np.full(len(good), 3), np.full(len(good), 0.25))
    path = tmp_path / "written.txt"
    for kind in ("ground_truth", "results"):
        write_mot(path, table, kind=kind, decimals=decimals)
        back = read_mot(path, kind=kind)
        assert abs(back.boxes_xyxy - table.boxes_xyxy).max() <= 0.50001 * 10.0**-decimals
        for column in ("frames", "ids", "scores", "classes"):
            assert getattr(back, column).tolist() == getattr(table, column).tolist(), column
    assert back.visibility.tolist() == [1] * len(good)


def test_detections_with_and_without_class(tmp_path):
    """One row without a class must not drop the classes of all others."""
    path = tmp_path / "det.txt"
    rows = ["1,-1,10,10,20,40,0.9,1,-1,-1", "2,-1,10,10,20,40,0.9,-1,-1,-1", "3,-1,10,10,20,40,0.9,2,-1,-1"]
    path.write_text("\n".join(rows))
    with pytest.raises(ValueError, match=r"det\.txt:2: the class is -1, but other rows have classes; give every"):
        read_mot(path, kind="detections")
    path.write_text("\n".join([rows[0], rows[2]]))
    assert read_mot(path, kind="detections").classes.tolist() == [1, 2]
    path.write_text(rows[1])
    assert read_mot(path, kind="detections").classes.tolist() == [-1]


@pytest.mark.parametrize(
    ("size", "complaint"),
    [
        ("1e-200,40", "file.txt:2: width must be at least 0.001 pixels, got 1e-200"),
        ("40,0.0009", "file.txt:2: height must be at least 0.001 pixels, got 0.0009"),
        ("1e155,40", r"file.txt:2: width must be within 1e\+09 pixels, got 1e\+155"),
    ],
)
def test_range_of_the_sizes_of_detections(tmp_path, size, complaint):
    with pytest.raises(DataError, match=complaint):
        read_mot(write(tmp_path, f"1,-1,0,0,5,5,1\n1,-1,10,20,{size},1\n"), kind="detections")
    assert len(read_mot(write(tmp_path, "1,-1,10,20,0.001,1e9,1\n"), kind="detections")) == 1


def test_old_line_ends(tmp_path):
    assert len(read_mot(write(tmp_path, f"{ROW}\r{ROW.replace('7', '8')}\r"), kind="ground_truth")) == 2
