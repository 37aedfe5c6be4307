"""`mot eval`: tables, files and error messages."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest

from mot_core.evaluation import evaluate


@pytest.fixture
def results(mot, scenes, tmp_path):
    out = tmp_path / "out"
    assert mot("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", out).code == 0
    return out


def test_table_rows(mot, scenes, results):
    done = mot("eval", results, "--gt", scenes, "--benchmark", "generic")
    assert (done.code, done.err) == (0, "")
    hota = evaluate(results, scenes, benchmark="generic").combined["HOTA"]
    lines = {line.split()[1]: line for line in done.out.splitlines() if line.startswith("│")}
    assert list(lines) == ["park", "street", "COMBINED"]
    assert f"{hota:.2f}" in lines["COMBINED"]


def test_score_files(mot, scenes, results, tmp_path):
    scores, table = tmp_path / "new" / "scores.json", tmp_path / "scores.csv"
    arguments = ("eval", results, "--gt", scenes, "--benchmark", "generic")
    assert mot(*arguments, "--json", scores, "--csv", table).code == 0
    evaluation = evaluate(results, scenes, benchmark="generic")
    assert json.loads(scores.read_text()) == json.loads(json.dumps(evaluation.to_dict()))
    assert table.read_text() == evaluation.to_csv()


def test_stdout_holds_only_the_requested_file(mot, scenes, results):
    arguments = ("eval", results, "--gt", scenes, "--benchmark", "generic")
    done = mot(*arguments, "--json", "-")
    assert set(json.loads(done.out)) == {"sequences", "combined"}
    assert "COMBINED" in done.err
    rows = list(csv.DictReader(io.StringIO(mot(*arguments, "--csv", "-").out)))
    assert [row["sequence"] for row in rows] == ["park", "street", "COMBINED"]
    done = mot(*arguments, "--csv", "-", "--json", "-")
    assert done.code == 2
    assert "expected at most one - (stdout), got two" in done.err


def test_frame_windows(mot, scenes, results):
    arguments = ("eval", results, "--gt", scenes, "--benchmark", "generic", "--json", "-")
    half = json.loads(mot(*arguments, "--split", "half-val").out)
    frames = json.loads(mot(*arguments, "--frames", "22-40").out)
    assert half == frames
    assert half["combined"]["CLR_Frames"] == 2 * 19


def test_missing_results_are_noted(mot, scenes, results):
    (results / "street.txt").unlink()
    done = mot("eval", results, "--gt", scenes, "--benchmark", "generic")
    assert done.code == 0
    assert "mot: note: COMBINED is over 1 of 2 sequences: there are no results for street" in done.err


def test_scores_of_0_are_explained(mot, scenes, results):
    arguments = ("eval", results, "--gt", scenes, "--benchmark", "generic")
    far = "".join(f"{frame},1,9000,9000,20,40,0.9,-1,-1,-1\n" for frame in range(1, 41))
    for name in ("park", "street"):
        (results / f"{name}.txt").write_text(far)
    assert "HOTA of object is 0 because none of 80 result boxes overlaps an object" in mot(*arguments).err
    for name in ("park", "street"):
        (results / f"{name}.txt").write_text("")
    assert "HOTA of object is 0 because no box of the results counts" in mot(*arguments).err


def test_results_in_a_data_subfolder(mot, scenes, results, tmp_path):
    shutil.copytree(results, tmp_path / "method" / "data")
    arguments = ("--gt", scenes, "--benchmark", "generic", "--json", "-")
    assert mot("eval", tmp_path / "method", *arguments).out == mot("eval", results, *arguments).out


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda out: (out / "park.txt").rename(out / "prak.txt"), "there is no sequence for"),
        (lambda out: (out / "park.txt").write_text("1,1,0,0,9\n"), "park.txt:1"),
        (lambda out: (out / "park.txt").write_text("41,1,0,0,9,9,1,-1,-1,-1\n"), "park.txt:1"),
        (lambda out: shutil.rmtree(out), "check the path"),
    ],
    ids=["unknown sequence", "truncated", "past the end", "nothing"],
)
def test_invalid_results_are_reported_in_one_line(mot, scenes, results, damage, words):
    damage(results)
    done = mot("eval", results, "--gt", scenes, "--benchmark", "generic")
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert done.err.count("\n") == 1


def test_benchmark_names_are_case_insensitive(mot, scenes, results):
    arguments = ("eval", results, "--gt", scenes)
    assert mot(*arguments, "--benchmark", "GENERIC").code == 0
    done = mot(*arguments, "--benchmark", "MOT18")
    assert done.code == 2
    assert "there is no benchmark 'MOT18'; choose one of MOT15" in done.err


def test_official_bytetrack_scores_on_mot17(mot, mot_data, tmp_path):
    root = mot_data / "MOT17" / "train"
    done = mot(
        *("track", root, "--detections", "yolox", "--tracker", "bytetrack", "--preset", "official"),
        *("--output", tmp_path),
    )
    assert done.code == 0
    scores = json.loads(mot("eval", tmp_path, "--gt", root, "--json", "-").out)["combined"]
    # golden/bytetrack_association.json
    assert scores["HOTA"] == pytest.approx(70.162, abs=0.05)
    assert scores["IDSW"] == 350


def test_causes_of_identity_switches(mot, scenes, results, tmp_path):
    """Track 1 is cut in frame 20: every object that it follows then switches, in the table, the list and the JSON."""
    for file in results.glob("*.txt"):
        rows = [line.split(",") for line in file.read_text().splitlines()]
        cut = [[row[0], "999" if row[1] == "1" and int(row[0]) >= 20 else row[1], *row[2:]] for row in rows]
        file.write_text("".join(",".join(row) + "\n" for row in cut))
    arguments = ("eval", results, "--gt", scenes, "--benchmark", "generic")
    done = mot(*arguments, "--why", "--detections", "det", "--json", tmp_path / "scores.json")
    report = json.loads((tmp_path / "scores.json").read_text())
    assert len(report["switches"]) == report["combined"]["IDSW"] > 0
    assert {one["new"] for one in report["switches"]} >= {999}
    for one in report["switches"]:
        assert f"{one['sequence']} frame {one['frame']}: object {one['object']}, track {one['old']} ->" in done.out
    windowed = mot(*arguments, "--why", "--frames", "1-19", "--json", "-")
    assert all(one["frame"] < 20 and one["new"] != 999 for one in json.loads(windowed.out)["switches"])
    alone = mot(*arguments, "--detections", "det")
    assert (alone.code, "--detections: expected --why" in alone.err) == (2, True)
    missing = mot(*arguments, "--why", "--detections", "yolox")
    assert missing.code == 1
    assert "has no detections 'yolox'" in missing.err
