"""Tables of scores for the terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from mot_core.evaluation import evaluate, print_scores
from mot_core.io import make_scene, write_mot


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    root: Path = tmp_path_factory.mktemp("table")
    name = "a-sequence-with-a-rather-long-name"
    scene = make_scene(num_objects=4, num_frames=20)
    scene.save(root / "gt", name)
    write_mot(root / "results" / f"{name}.txt", scene.ground_truth, kind="results")
    return evaluate(root / "results", root / "gt", benchmark="generic")


def printed(evaluation, **console):
    file = io.StringIO()
    print_scores(evaluation, Console(file=file, **console))
    return file.getvalue()


def test_rows_of_the_table(evaluation):
    text = printed(evaluation, width=200)
    assert "a-sequence-with-a-rather-long-name" in text
    assert "COMBINED" in text
    assert text.count("100.00") >= 8  # HOTA ... of a perfect result, in both rows


def test_ratios_without_ground_truth_are_dashes(tmp_path):
    scene = make_scene(num_objects=4, num_frames=5)
    for name in "ab":
        scene.save(tmp_path / "gt", name)
        write_mot(tmp_path / "results" / f"{name}.txt", scene.ground_truth, kind="results")
    (tmp_path / "gt/b/gt/gt.txt").write_text("")
    rows = printed(evaluate(tmp_path / "results", tmp_path / "gt", benchmark="generic"), width=200).splitlines()
    (cells,) = [row.replace("│", " ").split() for row in rows if row.startswith("│ b ")]
    number = len(scene.ground_truth)
    assert cells == ["b", *["-"] * 9, "0", str(number), "0", "0", "0", "0", "0"]


def test_a_class_that_does_not_occur_is_all_dashes(tmp_path):
    scene = make_scene(num_objects=4, num_frames=5)
    for name in "ab":
        scene.save(tmp_path / "gt", name)
        write_mot(tmp_path / "results" / f"{name}.txt", scene.ground_truth, kind="results")
    for path in (tmp_path / "gt/b/gt/gt.txt", tmp_path / "results/b.txt"):
        path.write_text("")
    rows = printed(evaluate(tmp_path / "results", tmp_path / "gt", benchmark="generic"), width=200).splitlines()
    (cells,) = [row.replace("│", " ").split() for row in rows if row.startswith("│ b ")]
    assert cells == ["b", *["-"] * 16]


@pytest.mark.parametrize("width", [10, 40, 60, 80, 100, 120, 160])
def test_numbers_are_not_truncated(evaluation, width):
    for terminal in (False, True):
        text = printed(evaluation, width=width, force_terminal=terminal, color_system=None)
        assert "…" not in text
        assert "HOTA" in text
        if width >= 80:
            assert not terminal or max(map(len, text.splitlines())) <= width
        if not terminal:  # files and pipes have no width limit
            assert "IDR" in text


def test_wide_terminal_has_more_columns(evaluation):
    narrow, wide = (printed(evaluation, width=w, force_terminal=True, color_system=None) for w in (80, 200))
    assert "Frag" not in narrow
    assert "Frag" in wide
