"""The fuzz session itself: a few cases of every battery, and a failing case that is kept and repeated."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import runner
from fuzz.runner import BATTERIES, run_case

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("battery", BATTERIES)
def test_first_cases_pass(battery, tmp_path):
    case = runner.load(battery)
    for number in range(3):
        passed = run_case(case, battery, 0, number, tmp_path)
        assert passed, (tmp_path / f"{battery}-{number:06d}/failure.txt").read_text()


def test_failing_case_keeps_its_files(tmp_path):
    def case(rng, folder):
        (folder / "input.txt").write_text(str(rng.integers(10**6)))
        raise ValueError("found it")

    assert not run_case(case, "text", 7, 3, tmp_path)
    first = (tmp_path / "text-000003/files/input.txt").read_text()
    report = (tmp_path / "text-000003/failure.txt").read_text()
    assert report.startswith("nox -s fuzz -- --seed 7 --replay text:3\n")
    assert "ValueError: found it" in report
    assert not run_case(case, "text", 7, 3, tmp_path)
    assert (tmp_path / "text-000003/files/input.txt").read_text() == first


def test_crash_of_the_process_is_a_failure(tmp_path, monkeypatch):
    """The child process of a battery dies in its third case, and the next one continues after it."""
    package = tmp_path / "fuzz_crash.py"
    package.write_text(
        "import os\ncount = 0\n\ndef case(rng, folder):\n    global count\n    count += 1\n"
        "    if count == 3:\n        os._exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT / 'tests'}:{ROOT}")
    tally = runner.run_battery("fuzz_crash", 0, 1, tmp_path)
    assert tally.failures[0] == 2
    assert tally.cases >= 3  # on a loaded machine, there is no time for another process
    assert "ended with 9" in (tmp_path / "fuzz_crash-000002/failure.txt").read_text()


def test_command_prints_a_table(tmp_path):
    command = [sys.executable, "-m", "fuzz", "--battery", "text", "--minutes", "0.01", "--output", str(tmp_path)]
    environment = {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", "COLUMNS": "100"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"text .* [1-9]\d* │ +0 │", done.stdout)
