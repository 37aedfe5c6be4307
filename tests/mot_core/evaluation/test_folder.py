"""Folders of results and ground truth: pairing, rejected input and output formats."""

import csv
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mot_core.evaluation import Scores, evaluate, score_sequence
from mot_core.io import BoxTable, make_scene, read_mot, write_mot

FRAMES = 40


def track(truth, seed=0):
    """Results that are neither perfect nor useless."""
    rng = np.random.default_rng(seed)
    kept = truth.select(rng.random(len(truth)) > 0.2)
    ids = np.where(rng.random(len(kept)) < 0.05, kept.ids + 100, kept.ids)
    return BoxTable(kept.frames, ids, kept.boxes_xyxy + rng.normal(0, 4, kept.boxes_xyxy.shape))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two sequences, `a` and `b`, with results."""
    root = tmp_path_factory.mktemp("scenes")
    for seed, name in enumerate("ab"):
        scene = make_scene(seed=seed, num_objects=6, num_frames=FRAMES)
        scene.save(root / "gt", name)
        write_mot(root / "results" / f"{name}.txt", track(scene.ground_truth, seed), kind="results")
    return root


@pytest.fixture
def root(scenes, tmp_path):
    """A modifiable copy."""
    return shutil.copytree(scenes, tmp_path / "scenes")


def run(root, results="results", gt="gt", benchmark="generic", **options):
    return evaluate(root / results, root / gt, benchmark=benchmark, **options)


def rejects(match, error=ValueError):
    return pytest.raises(error, match=match)


def test_scores_per_sequence_and_combined(scenes):
    evaluation = run(scenes)
    assert list(evaluation.sequences) == ["a", "b"]
    assert dict(evaluation.combined) == dict(Scores.combine(evaluation.sequences.values()))
    assert 30 < evaluation.combined["HOTA"] < 90
    truth = read_mot(scenes / "gt/a/gt/gt.txt", kind="ground_truth")
    results = read_mot(scenes / "results/a.txt", kind="results")
    alone = score_sequence(truth, results, "generic", range(1, FRAMES + 1))["object"]
    assert dict(evaluation.sequences["a"]) == dict(alone)
    assert evaluation.notes == []


def test_results_in_data_folder(scenes, tmp_path):
    shutil.copytree(scenes / "results", tmp_path / "tracker/data")
    (tmp_path / "tracker/pedestrian_summary.txt").write_text("HOTA DetA\n1 2\n")  # written by TrackEval
    inner = evaluate(tmp_path / "tracker/data", scenes / "gt", benchmark="generic")
    outer = evaluate(tmp_path / "tracker", scenes / "gt", benchmark="generic")
    assert inner.to_dict() == outer.to_dict() == run(scenes).to_dict()
    shutil.copy(scenes / "results/a.txt", tmp_path / "tracker/a.txt")
    with rejects(r"there are results in .*tracker \(a.txt ...\) and in .*data"):
        evaluate(tmp_path / "tracker", scenes / "gt", benchmark="generic")


def test_one_file_against_one_sequence(scenes):
    alone = run(scenes, "results/a.txt", "gt/a")
    assert dict(alone.combined) == dict(run(scenes).sequences["a"])
    assert alone.notes == []


def test_missing_results_are_noted(root):
    (root / "results/b.txt").unlink()
    evaluation = run(root)
    assert evaluation.missing == ("b",)
    assert evaluation.notes == ["COMBINED is over 1 of 2 sequences: there are no results for b"]
    assert evaluation.to_dict()["missing"] == ["b"]
    assert "missing" not in run(root, "results", "gt/a").to_dict()


def test_sequences_without_ground_truth_are_skipped(root):
    shutil.rmtree(root / "gt/b/gt")
    with rejects("there is no ground truth .*b/gt/gt.txt", FileNotFoundError):
        run(root)
    (root / "results/b.txt").unlink()
    assert run(root).missing == ()


def test_empty_result_file(root):
    (root / "results/b.txt").write_text("")
    scores = run(root).sequences["b"]
    assert scores["HOTA"] == 0
    assert scores["FN"] == scores["GT_Dets"] > 0


def test_mot17_detector_variants_share_ground_truth(scenes, tmp_path):
    shutil.copytree(scenes / "gt/a", tmp_path / "MOT17/train/MOT17-02-FRCNN")
    for name in ("MOT17-02-DPM", "MOT17-02-FRCNN", "MOT17-02-SDP", "MOT17-02"):
        (tmp_path / "results").mkdir(exist_ok=True)
        shutil.copy(scenes / "results/a.txt", tmp_path / "results" / f"{name}.txt")
    evaluation = evaluate(tmp_path / "results", tmp_path / "MOT17/train")
    assert evaluation.benchmark == "MOT17"
    assert list(evaluation.sequences) == ["MOT17-02", "MOT17-02-DPM", "MOT17-02-FRCNN", "MOT17-02-SDP"]
    assert evaluation.combined["GT_Dets"] == 4 * evaluation.sequences["MOT17-02"]["GT_Dets"]
    shutil.copy(scenes / "results/a.txt", tmp_path / "results/MOT17-04-SDP.txt")
    with rejects("no sequence for .*MOT17-04-SDP.txt"):
        evaluate(tmp_path / "results", tmp_path / "MOT17/train")


def test_ground_truth_with_matching_name_takes_precedence(scenes, tmp_path):
    for detector, source in (("DPM", "a"), ("SDP", "b")):
        shutil.copytree(scenes / "gt" / source, tmp_path / f"MOT17/MOT17-02-{detector}")
    (tmp_path / "results").mkdir()
    shutil.copy(scenes / "results/b.txt", tmp_path / "results/MOT17-02-SDP.txt")
    evaluation = evaluate(tmp_path / "results", tmp_path / "MOT17")
    assert evaluation.combined["GT_Dets"] == run(scenes).sequences["b"]["GT_Dets"]
    assert evaluation.missing == ()  # the other is the same video


def test_windows_keep_frame_numbers(scenes):
    window = run(scenes, frames=(11, 30))
    truth = read_mot(scenes / "gt/a/gt/gt.txt", kind="ground_truth")
    results = read_mot(scenes / "results/a.txt", kind="results")
    truth, results = (one.select((one.frames >= 11) & (one.frames <= 30)) for one in (truth, results))
    alone = score_sequence(truth, results, "generic", range(11, 31))["object"]
    assert dict(window.sequences["a"]) == dict(alone)
    assert window.sequences["a"]["CLR_Frames"] == 20


def test_windows_without_ground_truth_are_scored(root):
    path = root / "gt/a/gt/gt.txt"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    uncounted = [[*row[:6], "0" if int(row[0]) <= 10 else "1", *row[7:]] for row in rows]
    path.write_text("".join(",".join(row) + "\n" for row in uncounted))
    scores = run(root, frames=(1, 10)).sequences["a"]
    assert (scores["GT_Dets"], scores["HOTA"]) == (0, 0)
    assert scores["FP"] == scores["Dets"] > 0


def test_half_val_is_the_second_half(scenes):
    half = run(scenes, split="half-val")
    assert half.to_dict() == run(scenes, frames=(FRAMES // 2 + 2, FRAMES)).to_dict()
    with rejects("frames and split exclude each other"):
        run(scenes, split="half-val", frames=(1, 2))
    with rejects("split must be half-val, got 'test'"):
        run(scenes, split="test")
    with rejects("frames 30-50 are not a part of a, which has 1-40"):
        run(scenes, frames=(30, 50))


def test_results_of_unknown_sequence_are_rejected(root):
    shutil.copy(root / "results/a.txt", root / "results/c.txt")
    with rejects(r"no sequence for .*c\.txt: .*gt has a, b; give the ground truth"):
        run(root)
    (root / "results/c.txt").unlink()
    with (root / "results/a.txt").open("a") as file:
        file.write("41,7,1,1,10,10,1,-1,-1,-1\n")
    line = (root / "results/a.txt").read_text().count("\n")
    for options in ({}, {"frames": (1, 5)}):  # also if the window excludes the row
        with rejects(rf"a\.txt:{line}: frame 41 is outside the sequence, which has the frames 1-40"):
            run(root, **options)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("1,7,1,1,10,10,1,-1,-1,-1\n1,7,1,1,10,10,1,-1,-1,-1\n", r"a\.txt:2: id 7 is already in frame 1, at line 1"),
        ("1,7,nan,1,10,10,1,-1,-1,-1\n", r"a\.txt:1: left must be a finite number"),
        ("1,-1,1,1,10,10,1,-1,-1,-1\n", r"a\.txt:1: id must be 0 or more"),
        ("0,7,1,1,10,10,1,-1,-1,-1\n", r"a\.txt:1: frame must be a whole number from 1"),
    ],
)
def test_invalid_results_are_rejected(root, row, match):
    (root / "results/a.txt").write_text(row)
    with rejects(match):
        run(root)


def test_ground_truth_without_counted_rows_is_rejected(root):
    path = root / "gt/a/gt/gt.txt"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join([*row[:6], "0", *row[7:]]) + "\n" for row in rows))
    with rejects(r"the ground truth of a is empty under the rules of generic: none of its \d+ rows counts .conf not 0"):
        run(root)


def test_empty_ground_truth_is_rejected_unless_others_have_boxes(root):
    (root / "gt/a/gt/gt.txt").write_text("")
    evaluation = run(root)
    assert evaluation.sequences["a"]["FP"] == evaluation.sequences["a"]["Dets"] > 0
    with rejects("gt/a has no boxes to score against"):
        run(root, "results/a.txt", "gt/a")


def test_mot15_files_with_other_rules_are_rejected(scenes, tmp_path):
    """Without this error, scores are meaningless (HOTA 0, MOTA -28100 in other tools)."""
    folder = shutil.copytree(scenes / "gt/a", tmp_path / "train/TUD-Campus")
    rows = [line.split(",") for line in (folder / "gt/gt.txt").read_text().splitlines()]
    (folder / "gt/gt.txt").write_text("".join(",".join([*row[:6], "1,-1,-1,-1"]) + "\n" for row in rows))
    (tmp_path / "results").mkdir()
    shutil.copy(scenes / "results/a.txt", tmp_path / "results/TUD-Campus.txt")
    mot15 = evaluate(tmp_path / "results", tmp_path / "train")
    assert mot15.benchmark == "MOT15"
    with rejects("have names of MOT15, which has other rules than MOT17; choose MOT15 or auto, or generic"):
        evaluate(tmp_path / "results", tmp_path / "train", benchmark="MOT17")
    folder.rename(tmp_path / "train/street")
    (tmp_path / "results/TUD-Campus.txt").rename(tmp_path / "results/street.txt")
    own = evaluate(tmp_path / "results", tmp_path / "train")
    assert (own.benchmark, own.combined["HOTA"]) == ("generic", mot15.combined["HOTA"])
    assert [note.partition(":")[0] for note in own.notes] == [
        "no benchmark fits the names of the folders, so the rules of generic are used"
    ]
    assert evaluate(tmp_path / "results", tmp_path / "train", benchmark="generic").notes == []
    with rejects("MOT17 scores class 1, but this ground truth has no classes"):
        evaluate(tmp_path / "results", tmp_path / "train", benchmark="MOT17")


def test_equal_rules_may_be_mixed(scenes, tmp_path):
    shutil.copytree(scenes / "gt/a", tmp_path / "gt/dancetrack0001")
    (tmp_path / "results").mkdir()
    shutil.copy(scenes / "results/a.txt", tmp_path / "results/dancetrack0001.txt")
    own, mot17 = (evaluate(tmp_path / "results", tmp_path / "gt", benchmark=b) for b in ("auto", "MOT17"))
    assert own.to_dict() == mot17.to_dict()


def test_missing_folders_are_rejected(scenes, tmp_path):
    with rejects("there are no results at", FileNotFoundError):
        evaluate(tmp_path / "nowhere", scenes / "gt", benchmark="generic")
    with rejects("there are no result files .<sequence>.txt. in", FileNotFoundError):
        evaluate(tmp_path, scenes / "gt", benchmark="generic")
    with rejects("there is no folder", FileNotFoundError):
        evaluate(scenes / "results", tmp_path / "nowhere", benchmark="generic")


def test_json(scenes):
    evaluation = run(scenes)
    report = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert report.keys() == {"sequences", "combined"}
    assert report["sequences"].keys() == {"a", "b"}
    combined = report["combined"]
    assert combined["HOTA"] == evaluation.combined["HOTA"]
    assert combined["HOTA"] == pytest.approx(np.mean(combined["HOTA_alpha"]))
    assert len(combined["HOTA_alpha"]) == 19
    assert isinstance(combined["IDSW"], int)
    assert combined["FP"] == combined["CLR_FP"]


def test_csv_equals_flattened_json(scenes):
    evaluation = run(scenes)
    rows = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert [row["sequence"] for row in rows] == ["a", "b", "COMBINED"]
    for row in rows:
        scores = evaluation.combined if row["sequence"] == "COMBINED" else evaluation.sequences[row["sequence"]]
        assert float(row["MOTA"]) == scores["MOTA"]
        assert float(row["HOTA_alpha_0.05"]) == scores["HOTA_alpha"][0]
        assert float(row["HOTA_alpha_0.95"]) == scores["HOTA_alpha"][18]
        assert row["IDSW"] == str(scores["IDSW"])


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    (root / "training/label_02").mkdir(parents=True)
    (root / "results").mkdir()
    rest = "-1 -1 -1 -1000 -1000 -1000 -10"
    label = f"0 1 Car 0 0 0 0 0 90 60 {rest}\n0 2 Pedestrian 0 0 0 200 0 230 90 {rest}\n"
    (root / "training/label_02/0000.txt").write_text(label + f"0 -1 DontCare -1 -1 -10 400 0 500 60 {rest}\n")
    clutter = f"0 9 Car -1 -1 -10 410 0 490 60 {rest} 0.5\n0 3 Pedestrian -1 -1 -10 600 0 630 90 {rest} 0.5\n"
    (root / "results/0000.txt").write_text(f"0 7 Car -1 -1 -10 0 0 90 60 {rest} 0.9\n" + clutter)
    return evaluate(root / "results", root)


def test_kitti_scores_per_class(kitti):
    assert (kitti.classes["car"].combined["MOTA"], kitti.classes["car"].combined["FP"]) == (100, 0)  # DontCare
    assert (kitti.classes["pedestrian"].combined["FP"], kitti.classes["pedestrian"].combined["FN"]) == (1, 1)
    report = kitti.to_dict()
    assert report["combined"]["car"]["MOTA"] == 100
    assert report["sequences"]["0000"]["pedestrian"]["FN"] == 1
    rows = list(csv.DictReader(io.StringIO(kitti.to_csv())))
    assert [(row["class"], row["sequence"]) for row in rows] == [
        (label, name) for label in ("car", "pedestrian") for name in ("0000", "COMBINED")
    ]
    with rejects(r'KITTI scores several classes.*\.classes\["car"\] and \.classes\["pedestrian"\]'):
        _ = kitti.combined


def test_files_are_scored_without_torch(scenes):
    code = (
        "import sys; from mot_core.evaluation import evaluate; "
        f"evaluate({str(scenes / 'results')!r}, {str(scenes / 'gt')!r}, benchmark='generic'); "
        "print(sorted({'torch', 'torchmetrics', 'lightning', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"  # and nothing else, because stdout is for results
    assert done.stderr == ""


def test_missing_trackeval_names_install_command(scenes):
    code = (
        "import sys; sys.modules['trackeval'] = None; from mot_core.evaluation import evaluate; "
        f"evaluate({str(scenes / 'results')!r}, {str(scenes / 'gt')!r}, benchmark='generic')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "scoring needs trackeval: pip install './packages/mot-core[eval]'" in done.stderr
