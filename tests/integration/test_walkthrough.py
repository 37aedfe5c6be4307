"""Every command of docs/walkthrough.md in order, with trainings of two steps."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from mot_core.cli import main
from mot_core.io import read_mot

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=4",
         "--trainer.accelerator=cpu", "--trainer.check_val_every_n_epoch=1"]  # fmt: skip


def test_every_command_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delitem(sys.modules, "moving", raising=False)
    names, called = {}, []
    for language, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, str(PAGE), "exec"), names)
            continue
        for line in code.splitlines():
            program, *arguments = shlex.split(line)
            if program == "pip":
                installed(arguments)
                continue
            assert program == "mot"
            called.append(arguments[0])
            code = main([*arguments, *(SHORT if arguments[0] == "fit" else [])])
            assert code == 0, f"{line}: {capsys.readouterr().err}"
    assert called == ["env", "track", "data", "track", "eval", "fit", "fit", "track", "test"]
    assert len(read_mot("tracks/street.txt", kind="results")) > 40
    assert all(Path(name).stat().st_size > 1000 for name in ("tracks/street.mp4", "tuned/street.mp4"))
    assert "COMBINED" in capsys.readouterr().out
    sys.modules.pop("moving", None)


def installed(arguments):
    """Check that the package and its extras exist."""
    assert arguments[0] == "install"
    path, extras = re.fullmatch(r"\./(.+)\[(.+)\]", arguments[1]).groups()
    text = (ROOT / path / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", text, re.MULTILINE) for extra in extras.split(","))


@pytest.mark.parametrize("heading", ["A video with tracks", "Scores", "A tracker trained on my folder"])
def test_the_steps_are_there(heading):
    assert f"\n## {heading}\n" in PAGE.read_text(encoding="utf-8")
