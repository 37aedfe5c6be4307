"""``check``: contents of a folder, and every problem with file, line and remedy."""

import json
import os

import pytest
from PIL import Image

from mot_core.io import check, make_scene

INI = "[Sequence]\nname=a\nimDir=img1\nframeRate=25\nseqLength=3\nimWidth=64\nimHeight=48\nimExt=.jpg\n"
GOOD = "1,1,0,0,5,5,1,1,1\n2,1,0,0,5,5,1,1,1\n3,1,0,0,5,5,1,1,1\n"


def make(root, name="a", *, ini=INI, gt=GOOD, det=None, ignore=None, images=()):
    folder = root / name
    for path, text in (("seqinfo.ini", ini), ("gt/gt.txt", gt), ("det/det.txt", det), ("gt/ignore.txt", ignore)):
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    for number in images:
        (folder / "img1").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / "img1" / f"{number:06d}.jpg")
    return folder


def found(root, benchmark="generic"):
    """Severity, location and message of all problems."""
    return [
        (one.severity, os.path.relpath(one.file, root), one.line, one.message)
        for one in check(root, benchmark).problems
    ]


def test_valid_sequence(tmp_path):
    make(tmp_path, det="1,-1,0,0,5,5,0.5\n1,-1,9,9,5,5,0.5\n", ignore="1,1,0,0,9,9,0,-1,-1", images=(1, 2, 3))
    report = check(tmp_path, benchmark="generic")
    assert report.ok
    assert report.problems == ()
    (summary,) = report.sequences
    assert (summary.frames, summary.image_size, summary.frame_rate, summary.images) == (3, (48, 64), 25, 3)
    assert (summary.rows, summary.boxes, summary.identities, summary.ignore_regions) == (3, 3, 1, 1)
    assert summary.detections == {"det": 2}


def test_to_dict_is_json(tmp_path):
    make(tmp_path, gt="1,1,0,0,-5,5,1,1,1\n", det="")
    data = json.loads(json.dumps(check(tmp_path, "generic").to_dict()))
    assert data["ok"] is False
    assert (data["benchmark"], data["path"], data["sequences"][0]["name"]) == ("generic", str(tmp_path), "a")
    (problem,) = [one for one in data["problems"] if one["severity"] == "error"]
    assert problem["file"] == str(tmp_path / "a" / "gt" / "gt.txt")
    assert (problem["line"], problem["kind"]) == (1, "width")
    assert problem["remedy"]


def test_all_problems_of_all_files_and_sequences(tmp_path):
    make(
        tmp_path,
        "a",
        gt=GOOD + "2,1,0,0,5,5,1,1,1\n9,1,0,0,5,5,1,1,1\n3,2,0,0\n",
        det="1,-1,0,0,0,5,1\nx,-1,0,0,5,5,1\n",
    )
    make(tmp_path, "b", ini=INI.replace("name=a\n", "").replace("=3", "=three"))
    make(tmp_path, "c", ini=INI.replace("name=a", "name=c"), gt="1,1,0,0,5,5,nan,1,1\n" + GOOD)
    assert found(tmp_path) == [
        ("error", "a/gt/gt.txt", 4, "id 1 is already in frame 2, at line 2"),
        ("error", "a/gt/gt.txt", 5, "frame 9 is outside the sequence, which has the frames 1-3"),
        ("error", "a/gt/gt.txt", 6, "expected 9 columns as in most lines, got 4"),
        ("error", "a/det/det.txt", 1, "width must be at least 0.001 pixels, got 0"),
        ("error", "a/det/det.txt", 2, "frame must be a finite number, got 'x'"),
        ("error", "b/seqinfo.ini", None, "seqLength must be a positive number, got 'three'"),
        ("error", "c/gt/gt.txt", 1, "conf must be a finite number, got 'nan'"),
    ]
    summaries = {one.name: one for one in check(tmp_path, "generic").sequences}
    assert (summaries["b"].frames, summaries["b"].boxes) == (3, 3), "checked in spite of its seqinfo.ini"


def test_problems_of_one_kind_are_counted(tmp_path):
    make(tmp_path, gt="".join(f"1,{i},0,0,-1,5,1,1,1\n" for i in range(40)) + "0,1,0,0,5,5,1,1,1\n" + GOOD)
    problems = check(tmp_path, benchmark="generic").problems
    widths = [one for one in problems if one.kind == "width"]
    assert [one.line for one in widths] == [1, 2, 3, 4, 5, None]
    assert widths[-1].message == "35 more lines have this kind of problem"
    assert [one.line for one in problems if one.kind == "frame"] == [41]


@pytest.mark.parametrize(
    ("make_options", "expected"),
    [
        (
            {"ini": None},
            ("seqinfo.ini", None, "the file is missing, so the length is that of the last frame"),
        ),
        (
            {"ini": None, "images": (1, 2, 3)},
            ("seqinfo.ini", None, "the file is missing, so the length is that of the images"),
        ),
        ({"ini": INI.replace("=a", "=b")}, ("seqinfo.ini", None, "name is 'b', but the folder is 'a'")),
        ({"ini": INI.replace("seqLength=3\n", "")}, ("seqinfo.ini", None, "seqLength is missing")),
        ({"ini": INI.replace("64", "32"), "images": (1, 2, 3)}, ("seqinfo.ini", None, "imWidth and imHeight differ")),
        ({"images": (1, 3)}, ("img1", None, "1 of 3 images are missing, the first is that of frame 2")),
        (
            {"images": (0, 1, 2, 3)},
            ("img1", None, "1 images belong to no frame of the sequence, the first is"),
        ),
        ({"gt": ""}, ("gt/gt.txt", None, "3 of 3 frames have no box that counts")),
        ({"gt": GOOD.replace("2,1,", "1,3,")}, ("gt/gt.txt", None, "1 of 3 frames have no box that counts")),
        ({"gt": GOOD.replace("5,5,1,1,1\n2", "5,5,0.5,1,1\n2")}, ("gt/gt.txt", 1, "conf is neither 0 nor 1")),
        ({"gt": GOOD.replace("1,0,0,5,5", "1,0,0,5,0")}, ("gt/gt.txt", 1, "the box has no area (the first of 3 rows)")),
        ({"gt": GOOD.replace("3,1,0", "3,1,64")}, ("gt/gt.txt", 3, "the box lies outside the image of 64x48")),
        ({"det": "1,-1,0,0,5,5,1\n1,-1,0,0,5,5,70\n"}, ("det/det.txt", 2, "scores lie between 1 and 70, not in")),
        ({"det": "1,-1,0,-9,5,5,1\n"}, ("det/det.txt", 1, "the box lies outside the image of 64x48")),
    ],
)
def test_warnings(tmp_path, make_options, expected):
    folder = make(tmp_path, **make_options)
    report = check(folder, benchmark="generic")
    assert report.ok
    places = [(os.path.relpath(one.file, folder), one.line, one.message) for one in report.problems]
    assert any(place[:2] == expected[:2] and place[2].startswith(expected[2]) for place in places), places
    assert all(one.severity == "warning" for one in report.problems)


@pytest.mark.parametrize(
    ("benchmark", "gt", "message"),
    [
        ("MOT17", "1,1,0,0,5,5,1,-1,-1,-1\n", "MOT17 scores class 1, but this ground truth has no classes"),
        (
            "MOT17",
            "1,1,0,0,5,5,0,1,1\n2,1,0,0,5,5,1,7,1\n",
            "none of 2 rows counts as pedestrian by the rules of MOT17",
        ),
        ("MOT17", GOOD + "1,2,0,0,5,5,1,14,1\n", "MOT17 knows the classes 1 to 13, got 14"),
        ("generic", "1,1,0,0,5,5,0,1,1\n", "none of 1 rows counts as object by the rules of generic"),
        ("KITTI", GOOD, "there is no folder label_02 or image_02 as in KITTI"),
    ],
)
def test_wrong_rules_are_errors(tmp_path, benchmark, gt, message):
    make(tmp_path, gt=gt)
    errors = [one for one in check(tmp_path, benchmark).problems if one.severity == "error"]
    assert [one.message[: len(message)] for one in errors] == [message]


def test_mot15_with_classes_is_a_warning(tmp_path):
    make(tmp_path, gt=GOOD.replace("1,1,1\n2", "1,7,1\n2"))
    assert ("warning", "a/gt/gt.txt", None) in [one[:3] for one in found(tmp_path, "MOT15")]


def test_folders_without_a_benchmark_are_checked_as_generic(tmp_path):
    make(tmp_path, "street", gt=GOOD, ini=INI.replace("=a", "=street"))
    report = check(tmp_path)
    assert (report.benchmark, report.problems) == ("generic", check(tmp_path, "generic").problems)
    assert not [one for one in report.problems if one.kind == "benchmark"]


def test_contradicting_names_are_an_error_and_the_rest_is_checked(tmp_path):
    make(tmp_path, "street", gt="1,1,0,0,-5,5,1,1,1\n" + GOOD, ini=INI.replace("=a", "=street"))
    make(tmp_path, "MOT17-02", gt=GOOD, ini=INI.replace("=a", "=MOT17-02"))
    report = check(tmp_path)
    assert not report.ok
    assert {(one.kind, one.line) for one in report.problems} >= {("benchmark", None), ("width", 1)}
    assert "the benchmark of street cannot be inferred from its name" in report.problems[0].message
    assert "choose one of MOT15" in report.problems[0].remedy
    with pytest.raises(ValueError, match="there is no benchmark 'MOT18'"):
        check(tmp_path, "MOT18")


def test_missing_folder_and_sequences(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        check(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there are no sequences in"):
        check(tmp_path)
    (tmp_path / "a" / "gt").mkdir(parents=True)
    assert [one.kind for one in check(tmp_path, "generic").problems if one.severity == "error"] == ["length"]


def test_binary_files(tmp_path):
    folder = make(tmp_path, images=(1, 2, 3), det="")
    (folder / "det" / "det.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "img1" / "000001.jpg").write_bytes(b"not an image")
    assert [(one.severity, one.kind, one.file.name) for one in check(folder, "generic").problems] == [
        ("error", "image", "000001.jpg"),
        ("error", "encoding", "det.txt"),
    ]
    (folder / "seqinfo.ini").unlink()
    assert "image" in {one.kind for one in check(folder, "generic").problems if one.severity == "error"}


def test_kitti(tmp_path):
    row = " 7 Car 0 0 -1.5 10 20 40 60 2 1.8 4.4 -4.5 1.8 13.4 -2.1\n"
    (tmp_path / "label_02").mkdir()
    (tmp_path / "label_02" / "0000.txt").write_text(f"0{row}0 -1 DontCare -1 -1 -10 1 2 3 4{' -1' * 7}\n2{row}")
    (tmp_path / "label_02" / "0001.txt").write_text("0 1 Car\n")
    report = check(tmp_path)
    assert report.benchmark == "KITTI"
    first = report.sequences[0]
    assert (first.frames, first.rows, first.boxes, first.identities, first.ignore_regions) == (3, 2, 2, 1, 1)
    assert {(one.file.name, one.severity) for one in report.problems} == {("0001.txt", "error")}
    assert "layout is that of KITTI" in check(tmp_path, "MOT17").problems[0].message


def test_right_and_bottom_instead_of_size_is_a_warning(tmp_path):
    folder = make_scene(num_objects=10, num_frames=30).save(tmp_path, "scene")
    path = folder / "det" / "det.txt"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows:
        row[4], row[5] = f"{float(row[2]) + float(row[4])}", f"{float(row[3]) + float(row[5])}"
    path.write_text("\n".join(map(",".join, rows)))
    (problem,) = check(folder, "generic").problems
    assert problem.message == "every width is larger than left and every height larger than top"
    assert problem.remedy == "columns 5 and 6 may be right and bottom"


def test_synthetic_scenes_have_no_problems(tmp_path):
    for seed in range(3):
        make_scene(seed, num_objects=6, num_frames=60).save(tmp_path, f"scene-{seed}")
    report = check(tmp_path, benchmark="generic")
    assert report.problems == ()
    assert [one.frames for one in report.sequences] == [60] * 3
