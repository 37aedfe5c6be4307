"""The training demo script for a few steps."""

import runpy
from pathlib import Path

import pytest

DEMO = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "demo_train.py"))


@pytest.mark.slow
def test_training_resuming_and_output(tmp_path, capsys):
    arguments = ["--output", str(tmp_path), "--videos", "1"]
    for steps in ("2", "3"):
        DEMO["main"]([*arguments, "--steps", steps])
    shown = capsys.readouterr().out
    assert "What to expect" in shown
    assert "AssA" in shown
    assert "ByteTrack" in shown
    assert len(list(tmp_path.glob("training/version_*"))) == 2  # the second run resumed the first
    for name in ("MOTIP", "ByteTrack"):
        assert len(list((tmp_path / name).glob("*.txt"))) == 1
        assert (tmp_path / f"{name}.mp4").stat().st_size > 1000
    assert (tmp_path / "MOTIP.png").stat().st_size > 1000
