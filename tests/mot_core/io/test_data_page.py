"""The example in docs/data.md equals the output of the command."""

import re
from pathlib import Path

from mot_core.cli import main
from mot_core.io import make_scene

PAGE = Path(__file__).parents[3] / "docs" / "data.md"


def test_example_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    folder = make_scene(num_objects=6, num_frames=60).save("data", "square")
    make_scene(seed=1, num_objects=6, num_frames=60).save("data", "street")
    path = folder / "gt" / "gt.txt"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    rows[11] = rows[11][:4]
    rows[40][4] = "-" + rows[40][4]
    path.write_text("\n".join(map(",".join, rows)))

    command, report = re.search(
        r"```bash\nmot (.*?)\n```\n\n```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S
    ).groups()
    assert main(command.split()) == 1
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == report.splitlines()
