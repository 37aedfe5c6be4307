"""The training demo, for a few steps."""

import runpy
from pathlib import Path

DEMO = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "demo_train.py"))


def test_it_trains_goes_on_and_shows_what_came_out(tmp_path, capsys):
    arguments = ["--output", str(tmp_path), "--videos", "1"]
    for steps in ("2", "3"):
        DEMO["main"]([*arguments, "--steps", steps])
    shown = capsys.readouterr().out
    assert "What to expect" in shown
    assert "AssA" in shown
    assert "ByteTrack" in shown
    assert len(list(tmp_path.glob("training/version_*"))) == 2  # the second went on from the first
    for name in ("MOTIP", "ByteTrack"):
        assert len(list((tmp_path / name).glob("*.txt"))) == 1
        assert (tmp_path / f"{name}.mp4").stat().st_size > 1000
    assert (tmp_path / "MOTIP.png").stat().st_size > 1000
