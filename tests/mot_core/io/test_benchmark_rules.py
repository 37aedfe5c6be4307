"""Benchmark rules, and inference of the benchmark."""

from pathlib import Path

import numpy as np
import pytest

from mot_core.io import BENCHMARKS, KITTI_CLASSES, BoxTable, Sequence, get_benchmark, guess_benchmark


def test_names_of_benchmarks():
    assert list(BENCHMARKS) == [
        "MOT15", "MOT16", "MOT17", "MOT20", "DanceTrack", "SportsMOT", "BFT", "BEE24", "UAVDT", "KITTI", "generic",
    ]  # fmt: skip
    assert all(name == benchmark.name and benchmark.source for name, benchmark in BENCHMARKS.items())
    assert get_benchmark("kitti") is BENCHMARKS["KITTI"]


def test_class_numbers_equal_trackeval(tmp_path):
    datasets = pytest.importorskip("trackeval").datasets
    mot = datasets.MotChallenge2DBox.__new__(datasets.MotChallenge2DBox)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "seqinfo.ini").write_text("[Sequence]\nseqLength=1\n")
    quiet = {"PRINT_CONFIG": False, "SKIP_SPLIT_FOL": True, "SEQ_INFO": {"a": 1}, "TRACKERS_TO_EVAL": []}
    (tmp_path / "a" / "gt").mkdir()
    (tmp_path / "a" / "gt" / "gt.txt").write_text("")
    mot.__init__({**quiet, "GT_FOLDER": str(tmp_path), "TRACKERS_FOLDER": str(tmp_path)})
    number = mot.class_name_to_class_id
    distractors = ["person_on_vehicle", "static_person", "distractor", "reflection"]
    for name in ("MOT16", "MOT17", "MOT20", "DanceTrack", "SportsMOT", "BFT", "BEE24"):
        (one,) = BENCHMARKS[name].classes
        names = [*distractors, "non_mot_vehicle"] if name == "MOT20" else distractors
        assert one.number == number["pedestrian"]
        assert set(one.distractors) == {number[each] for each in names}
        assert BENCHMARKS[name].known_classes == set(mot.valid_class_numbers)


def test_kitti_classes_equal_trackeval(tmp_path):
    datasets = pytest.importorskip("trackeval").datasets
    (tmp_path / "evaluate_tracking.seqmap.training").write_text("0000 empty 000000 000001\n0001 empty 000000 000001\n")
    (tmp_path / "label_02").mkdir()
    for name in ("0000", "0001"):
        (tmp_path / "label_02" / f"{name}.txt").write_text("")
    folders = {"GT_FOLDER": str(tmp_path), "TRACKERS_FOLDER": str(tmp_path)}
    kitti = datasets.Kitti2DBox({**folders, "PRINT_CONFIG": False, "TRACKERS_TO_EVAL": []})
    assert [kitti.class_name_to_class_id[name.lower()] for name in KITTI_CLASSES] == list(range(1, 10))
    rules = BENCHMARKS["KITTI"]
    assert [one.name for one in rules.classes] == kitti.valid_classes
    assert (rules.max_occlusion, rules.max_truncation) == (kitti.max_occlusion, kitti.max_truncation)
    assert rules.min_height == kitti.min_height
    assert [[KITTI_CLASSES[number] for number in (one.number, *one.distractors)] for one in rules.classes] == [
        ["Car", "Van"],
        ["Pedestrian", "Person"],
    ]


def test_counted_rows():
    kitti = BoxTable(
        np.zeros(6),
        np.arange(6),
        np.zeros((6, 4)),
        classes=[0, 0, 0, 3, 1, 5],
        occlusion=[2, 3, 0, 0, 0, 0],
        truncation=[0, 0, 1, 0, 0, 0],
    )
    assert BENCHMARKS["KITTI"].counted(kitti).tolist() == [True, False, False, True, False, False]
    mot = BoxTable(np.ones(5), np.arange(5), np.zeros((5, 4)), scores=[1, 0, 1, 0.9, -1], classes=[1, 1, 7, 1, 1])
    assert BENCHMARKS["MOT20"].counted(mot).tolist() == [True, False, False, False, True]
    assert BENCHMARKS["MOT15"].counted(mot).tolist() == [True, False, True, False, True]


def test_guess_by_sequences():
    mot = Sequence("eagle", Path("BFT/eagle"), "generic", 5)
    kitti = Sequence("0000", Path("training"), "KITTI", 5)
    assert [guess_benchmark([one]) for one in (mot, kitti)] == ["BFT", "KITTI"]


@pytest.mark.parametrize(
    ("paths", "benchmark"),
    [
        (["MOT17-02-FRCNN", "MOT17-04-SDP", "MOT17-05"], "MOT17"),
        (["out/MOT20-01.txt"], "MOT20"),
        (["MOT16-13"], "MOT16"),
        (["dancetrack0004"], "DanceTrack"),
        (["v_-6Os86HzwCs_c001", "v_1LwtoLPw2TU_c006"], "SportsMOT"),
        (["TUD-Campus", "KITTI-17", "PETS09-S2L1", "ADL-Rundle-8", "Venice-2", "ETH-Pedcross2"], "MOT15"),
        (["BEE2412"], "BEE24"),
        (["M0101", "M1401"], "UAVDT"),
        (["/data/MOT17/train/dancetrack0004"], "DanceTrack"),  # the name of the sequence takes precedence
        (["/data/BFT/val/eagle"], "BFT"),
        (["/data/MOT17/old/2DMOT2015/mine"], "MOT15"),
        (["/data/training/label_02/0003.txt"], "KITTI"),
        (["clips/mine/street", "clips/mine/park"], "generic"),
        (["MOT17-2"], "generic"),
        (["M9901"], "generic"),
    ],
)
def test_guess(paths, benchmark):
    assert guess_benchmark(map(Path, paths)) == benchmark


@pytest.mark.parametrize(
    ("paths", "complaint"),
    [
        (["MOT17-02", "street"], "the benchmark of street cannot be inferred"),
        (["MOT17-02", "MOT20-01"], r"different benchmarks: MOT17-02 \(MOT17\), MOT20-01 \(MOT20\)"),
        ([], "cannot be inferred without sequences"),
    ],
)
def test_ambiguous_names_are_rejected(paths, complaint):
    with pytest.raises(
        ValueError, match=rf"{complaint}.*choose one of MOT15, .*, generic \(generic for your own data\)"
    ):
        guess_benchmark(paths)
