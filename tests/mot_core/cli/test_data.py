"""`mot data check`: table, JSON report and exit code."""

from __future__ import annotations

import json

import pytest

from mot_core.io import check


def test_valid_data(mot, scenes):
    done = mot("data", "check", scenes, "--benchmark", "generic")
    assert (done.code, done.err) == (0, "")
    (park,) = (line.split() for line in done.out.splitlines() if "park" in line and "│" in line)
    boxes = check(scenes / "park", "generic").sequences[0].boxes
    assert {"40", "320x240", "30", str(boxes), "5"} <= set(park)
    assert "no problems" in done.out


@pytest.fixture
def broken_scene(scenes):
    path = scenes / "street" / "gt" / "gt.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], "5,1,[red],5,9,9,1,1,1", *lines[4:]]) + "\n")
    return path


def test_errors_are_listed_with_file_and_line(mot, scenes, broken_scene):
    done = mot("data", "check", scenes, "--benchmark", "generic")
    assert done.code == 1
    assert f"error: {broken_scene}:5: " in done.out
    assert "1 error, 0 warnings" in done.out


def test_brackets_are_printed_literally(mot, scenes, broken_scene):
    text = "".join(str(problem) for problem in check(scenes, "generic").problems)
    assert "[red]" in text
    assert text in mot("data", "check", scenes, "--benchmark", "generic").out


def test_json_report(mot, scenes, broken_scene, tmp_path):
    arguments = ("data", "check", scenes, "--benchmark", "generic", "--json")
    done = mot(*arguments, "-")
    assert done.code == 1
    report = json.loads(done.out)
    assert (report["ok"], report["problems"][0]["line"]) == (False, 5)
    assert "1 error" in done.err  # the table
    assert mot(*arguments, tmp_path / "report.json").code == 1
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_own_data_are_checked_as_generic_with_a_note(mot, scenes, tmp_path):
    done = mot("data", "check", scenes.rename(tmp_path / "mine"))
    assert done.code == 0
    assert "generic" in done.out
    assert "no problems" in done.out
    assert done.err.startswith("mot: note: no benchmark fits the names of the folders")
    assert done.err.count("\n") == 1


def test_empty_folder_and_wrong_usage(mot, tmp_path):
    done = mot("data", "check", tmp_path)
    assert done.code == 1
    assert f"there are no sequences in {tmp_path}" in done.err
    done = mot("data")
    assert done.code == 2
    done = mot("data", "chekc", tmp_path)
    assert done.code == 2


def test_wide_tables_are_not_truncated_in_a_pipe(mot, scenes, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = mot("data", "check", scenes, "--benchmark", "generic").out
    assert "…" not in out
    assert "detections" in out
