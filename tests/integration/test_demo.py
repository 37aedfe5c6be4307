"""The demo script on short scenes."""

import runpy
from pathlib import Path

import pytest

DEMO = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "demo.py"))


@pytest.mark.slow
def test_demo_table_and_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    DEMO["main"](["--output", str(tmp_path), "--frames", "60"])
    shown = capsys.readouterr().out
    rows = {line.split()[1]: line.split("│")[2:-1] for line in shown.splitlines() if line.startswith("│")}
    assert list(rows) == ["sort", "bytetrack", "ocsort", "untrained", "em_kalman"]
    idf1 = {name: float(row[3]) for name, row in rows.items()}
    assert idf1["untrained"] < 20
    assert idf1["em_kalman"] > max(idf1["sort"], idf1["bytetrack"], idf1["ocsort"]) + 10
    assert "at 3 frames per second" in shown
    for name in ("sort.png", "em_kalman.png", "bytetrack.mp4", "em_kalman.mp4"):
        assert (tmp_path / name).stat().st_size > 1000
