"""Sequences: search in folders, description, windows, and reading."""

from pathlib import Path

import pytest
from PIL import Image

from mot_core.io import Sequence, find_sequences

INI = "[Sequence]\nname=a\nimDir=img1\nframeRate=25\nseqLength=10\nimWidth=640\nimHeight=480\nimExt=.jpg\n"


def make(root: Path, name: str = "a", ini: str | None = INI, **files: str) -> Path:
    """Create a sequence folder; ``gt__gt="..."`` writes ``gt/gt.txt``."""
    folder = root / name
    folder.mkdir(parents=True)
    if ini is not None:
        (folder / "seqinfo.ini").write_text(ini)
    for key, text in files.items():
        path = folder / (key.replace("__", "/") + ".txt")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def add_images(folder: Path, numbers, size=(64, 48), pattern="img1/{:06d}.jpg") -> None:
    for number in numbers:
        path = folder / pattern.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)


def only(source, **options) -> Sequence:
    (sequence,) = find_sequences(source, **({"benchmark": "generic"} | options))
    return sequence


def test_sequence_from_seqinfo(tmp_path):
    folder = make(tmp_path, gt__gt="1,1,0,0,5,5,1,1,1")
    for source in (folder, tmp_path, str(folder)):
        sequence = only(source)
        assert (sequence.name, sequence.path, sequence.benchmark) == ("a", folder, "generic")
        assert (sequence.length, sequence.frame_rate, sequence.image_size) == (10, 25, (480, 640))
        assert sequence.frame_numbers() == range(1, 11)
        assert sequence.image_dir is None
        assert sequence.image_path(1) is None


def test_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "MOT17-02", gt__gt="1,1,0,0,5,5,1,1,1"))
    assert only(".", benchmark="auto").name == "MOT17-02"
    monkeypatch.chdir(make(tmp_path / "BFT", "eagle").parent)
    assert only(".", benchmark="auto").benchmark == "BFT"


def test_sequences_are_sorted_and_other_folders_ignored(tmp_path):
    for name in ("b", "a", "c"):
        make(tmp_path, name)
    (tmp_path / "seqmaps").mkdir()
    assert [sequence.name for sequence in find_sequences(tmp_path, benchmark="generic")] == ["a", "b", "c"]


def test_without_seqinfo_images_determine_length(tmp_path):
    folder = make(tmp_path, ini=None, det__det="1,-1,0,0,5,5,1")
    add_images(folder, range(1, 8), pattern="img1/{:08d}.jpg")
    sequence = only(folder, image_size=(1, 1))
    assert (sequence.length, sequence.image_size, sequence.frame_rate) == (7, (48, 64), None)
    assert sequence.image_path(3) == folder / "img1" / "00000003.jpg"
    assert sequence.image_path(8) is None


def test_without_seqinfo_and_images_last_row_determines_length(tmp_path):
    folder = make(tmp_path, ini=None, det__det="4,-1,0,0,5,5,1", det__other="9,-1,0,0,5,5,1\n2,-1,0,0,5,5,1")
    assert only(folder).length == 9
    assert only(folder).image_size is None
    assert only(folder, image_size=(480, 640)).image_size == (480, 640)


def test_unknown_length_is_rejected(tmp_path):
    make(tmp_path, ini=None, det__det="")
    with pytest.raises(ValueError, match=r"a: the number of frames is unknown.*; add a seqinfo\.ini with seqLength"):
        find_sequences(tmp_path, benchmark="generic")


@pytest.mark.parametrize(
    ("ini", "complaint"),
    [
        ("seqLength=5", "expected an ini file as in MOTChallenge"),
        ("[Video]\nseqLength=5", r"expected a section \[Sequence\]"),
        ("[Sequence]\nseqLength=many", "seqLength must be a positive number, got 'many'"),
        ("[Sequence]\nseqLength=-3", "seqLength must be a positive number, got '-3'"),
        ("[Sequence]\nframeRate=nan", "frameRate must be a positive number, got 'nan'"),
        ("[Sequence]\nimWidth=10\nimHeight=1.5", "imHeight must be a positive number, got '1.5'"),
    ],
)
def test_invalid_seqinfo_is_rejected(tmp_path, ini, complaint):
    make(tmp_path, ini=ini)
    with pytest.raises(ValueError, match=rf"seqinfo\.ini: {complaint}"):
        find_sequences(tmp_path, benchmark="generic")


def test_seqinfo_with_windows_line_endings(tmp_path):
    folder = make(tmp_path)
    (folder / "seqinfo.ini").write_bytes(("\ufeff" + INI.replace("\n", "\r\n").replace("=", " = ")).encode())
    assert only(folder).length == 10


def test_folder_without_sequences(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none"):
        find_sequences(tmp_path / "none")
    make(tmp_path / "MOT17" / "train", "MOT17-02")
    with pytest.raises(FileNotFoundError, match=r"there are no sequences in .*MOT17 .*did you mean .*train"):
        find_sequences(tmp_path / "MOT17")


def test_windows_keep_frame_numbers(tmp_path):
    rows = "\n".join(f"{frame},1,0,0,5,5,1,1,1" for frame in range(1, 11))
    folder = make(tmp_path, gt__gt=rows, gt__ignore=rows, det__det=rows)
    sequence = only(folder)
    window = sequence.window(3, 5)
    assert (window.first_frame, window.length, window.frame_numbers()) == (3, 3, range(3, 6))
    for table in (window.ground_truth(), window.detections(), window.ignore_regions()):
        assert table.frames.tolist() == [3, 4, 5]
    assert window.window(4, 4).ground_truth().frames.tolist() == [4]
    assert sequence.half_val().ground_truth().frames.tolist() == [7, 8, 9, 10]
    for first, last in ((0, 3), (5, 11), (4, 3)):
        with pytest.raises(ValueError, match=f"frames {first}-{last} are not a part of a, which has 1-10"):
            sequence.window(first, last)


@pytest.mark.parametrize(("length", "first"), [(600, 302), (1050, 527), (837, 420), (654, 329), (3, 3)])
def test_half_val_start(length, first):
    half = Sequence("s", Path("s"), "MOT17", length).half_val()
    assert half.frame_numbers() == range(first, length + 1)


def test_half_val_of_short_sequence_is_rejected():
    with pytest.raises(ValueError, match="s has 2 frames, too few for a half"):
        Sequence("s", Path("s"), "MOT17", 2).half_val()


def test_rows_past_the_end_are_rejected(tmp_path):
    text = "1,1,0,0,5,5,1,1,1\n11,1,0,0,5,5,1,1,1"
    sequence = only(make(tmp_path, gt__gt=text, det__det=text))
    for read in (sequence.ground_truth, sequence.detections, sequence.window(2, 3).detections):
        with pytest.raises(ValueError, match=r"txt:2: frame 11 is outside the sequence, which has the frames 1-10"):
            read()


def test_detections_by_name(tmp_path):
    sequence = only(make(tmp_path, det__det="1,-1,0,0,5,5,1", det__yolox="2,-1,0,0,5,5,1"))
    assert sequence.detection_names() == ["det", "yolox"]
    assert sequence.detections().frames.tolist() == [1]
    assert sequence.detections("sort, yolox,det").frames.tolist() == [2]
    with pytest.raises(FileNotFoundError, match=r"sequence a has no detections 'sort,dpm' .*; choose from det, yolox"):
        sequence.detections("sort,dpm")
    with pytest.raises(FileNotFoundError, match="it has no detections at all"):
        only(make(tmp_path, "b")).detections()


def test_missing_ground_truth(tmp_path):
    sequence = only(make(tmp_path))
    assert not sequence.has_ground_truth
    with pytest.raises(FileNotFoundError, match=r"there is no ground-truth file .*gt\.txt"):
        sequence.ground_truth()


def test_ignore_regions_by_benchmark(tmp_path):
    folder = make(tmp_path, gt__gt="1,1,0,0,5,5,1,1,1", gt__ignore="2,1,0,0,50,50,0,-1,-1")
    for benchmark, count in (("generic", 1), ("UAVDT", 1), ("MOT17", 0)):
        assert len(only(folder, benchmark=benchmark).ignore_regions()) == count
    assert len(only(make(tmp_path, "b")).ignore_regions()) == 0


def test_ground_truth_without_required_classes_is_rejected(tmp_path):
    make(tmp_path, "MOT17-02", gt__gt="1,1,0,0,5,5,1,-1,-1,-1")
    (sequence,) = find_sequences(tmp_path)
    with pytest.raises(ValueError, match=r"MOT17 scores class 1, but this ground truth has no classes.*choose another"):
        sequence.ground_truth()
    assert len(only(tmp_path).ground_truth()) == 1


@pytest.fixture
def kitti(tmp_path):
    root = tmp_path / "training"
    row = " 7 Car 0 0 -1.5 10 20 40 60 2 1.8 4.4 -4.5 1.8 13.4 -2.1"
    for folder in ("label_02", "det"):
        (root / folder).mkdir(parents=True)
        for name, last in (("0000", 4), ("0003", 8)):
            (root / folder / f"{name}.txt").write_text(
                f"0{row}\n{last}{row}\n0 -1 DontCare -1 -1 -10 1 2 3 4{' -1' * 7}\n"
            )
    return root


def test_kitti_layout(kitti):
    for source in (kitti, kitti.parent):
        first, second = find_sequences(source)
        assert (first.name, second.name, first.path, first.benchmark) == ("0000", "0003", kitti, "KITTI")
        assert (first.frame_numbers(), second.frame_numbers()) == (range(0, 5), range(0, 9))
        assert first.ground_truth().frames.tolist() == [0, 4]
        assert first.ignore_regions().boxes_xyxy.tolist() == [[1, 2, 3, 4]]
        assert first.detection_names() == ["det"]
        assert first.window(1, 4).detections().frames.tolist() == [4]
        assert second.half_val().frame_numbers() == range(5, 9)
    with pytest.raises(ValueError, match="in the layout of KITTI, but the benchmark is MOT17"):
        find_sequences(kitti, benchmark="MOT17")


def test_kitti_lengths_from_the_map_and_images(kitti):
    add_images(kitti, range(0, 6), size=(100, 40), pattern="image_02/0000/{:06d}.png")
    first, second = find_sequences(kitti)
    assert (first.length, first.image_size, second.length) == (6, (40, 100), 9)
    assert first.image_path(0) == kitti / "image_02" / "0000" / "000000.png"
    (kitti / "evaluate_tracking.seqmap.training").write_text("0000 empty 000000 000154\n0003 empty 000000 000009\n")
    assert find_sequences(kitti)[0].length == 154


def test_wrong_layout_is_rejected(tmp_path):
    make(tmp_path)
    with pytest.raises(ValueError, match="is not in the layout of KITTI"):
        find_sequences(tmp_path, benchmark="KITTI")
    with pytest.raises(ValueError, match="there is no benchmark 'MOT18'; choose one of MOT15, MOT16"):
        find_sequences(tmp_path, benchmark="MOT18")
