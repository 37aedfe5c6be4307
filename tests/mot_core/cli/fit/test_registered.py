"""Classes accepted by bare name: callbacks of installed plug-ins, and reports of broken ones."""

from __future__ import annotations

import sys

import pytest

from mot_core.cli.fit.registered import import_registered


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a plug-in, and a callback in `lightning.py`."""
    folder = tmp_path / "some_method"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from mot_core.plugins import Plugin\n\n\nclass SomePlugin(Plugin):\n    name = 'some'\n"
    )
    (folder / "lightning.py").write_text("SEEN = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "some_method"]:
        del sys.modules[name]


def test_callbacks_of_plugins_are_imported(package, monkeypatch, capsys):
    monkeypatch.setenv("MOT_CORE_PLUGINS", "some_method:SomePlugin")
    import_registered()
    assert sys.modules["some_method.lightning"].SEEN
    assert capsys.readouterr().err == ""


def test_broken_plugins_are_reported_and_skipped(package, monkeypatch, capsys):
    (package / "lightning.py").write_text("import no_such_module\n")
    monkeypatch.setenv("MOT_CORE_PLUGINS", "some_method:SomePlugin,some_method:Nothing")
    import_registered()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("mot: skipped: plug-in nothing (some_method:Nothing, MOT_CORE_PLUGINS)")
    assert lines[1].startswith("mot: skipped: some_method.lightning: ModuleNotFoundError: No module named")


def test_packages_without_callbacks(package, monkeypatch, capsys):
    (package / "lightning.py").unlink()
    monkeypatch.setenv("MOT_CORE_PLUGINS", "some_method:SomePlugin")
    import_registered()
    assert capsys.readouterr().err == ""
