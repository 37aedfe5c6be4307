"""`mot plugins`: list of installed and broken plug-ins."""

import pytest

from mot_core.cli import main
from mot_core.plugins import registry


@pytest.fixture(autouse=True)
def no_installed_packages(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: ())
    monkeypatch.delenv("MOT_CORE_PLUGINS", raising=False)


def test_no_plugins(capsys):
    assert main(["plugins"]) == 0
    assert capsys.readouterr().out == "no plug-ins are installed\n"


def test_broken_plugins_are_listed_with_the_reason(capsys, tmp_path, monkeypatch):
    (tmp_path / "good.py").write_text(
        "from mot_core.plugins import Plugin\n"
        "class GoodLoss(Plugin):\n    name = 'good'\n    requires = ('ids', ('embeddings', 'assoc'))\n"
    )
    (tmp_path / "bad.py").write_text("import nothing_of_this_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOT_CORE_PLUGINS", "bad.py:Bad good.py:GoodLoss")
    assert main(["plugins"]) == 1
    printed = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in printed.splitlines() if line.startswith("│")}
    assert "ids, assoc or embeddings" in rows["good-loss"]
    assert "MOT_CORE_PLUGINS" in rows["good-loss"]
    assert "broken" in rows["bad"]
    (error,) = [line for line in printed.splitlines() if line.startswith("error:")]
    assert error.startswith("error: plug-in bad (bad.py:Bad, MOT_CORE_PLUGINS) cannot be loaded: ModuleNotFoundError")


def test_invalid_environment_variable(capsys, monkeypatch):
    monkeypatch.setenv("MOT_CORE_PLUGINS", "nonsense")
    assert main(["plugins"]) == 1
    assert "MOT_CORE_PLUGINS: expected module:Class" in capsys.readouterr().err
