import importlib.metadata

import pytest

from mot_core.plugins import InstalledPlugin, Plugin, installed_plugins, load_plugin, registry

CODE = """
from mot_core.plugins import Plugin

class MyLoss(Plugin):
    name = "my_loss"

not_a_plugin = 3
"""


@pytest.fixture(autouse=True)
def no_installed_packages(monkeypatch):
    """Hide the installed packages, and unset the variable."""
    monkeypatch.setattr(registry, "entry_points", lambda group: ())
    monkeypatch.delenv("MOT_CORE_PLUGINS", raising=False)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with a valid and a broken plug-in, installed as by pip."""
    (tmp_path / "fine_method.py").write_text(CODE)
    info = tmp_path / "fine_method-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fine-method\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(
        "[mot_core.plugins]\n"
        "fine = fine_method:MyLoss\nbroken = fine_method_gone:Plugin\nodd = fine_method:not_a_plugin\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "entry_points", importlib.metadata.entry_points)


def test_no_installed_plugins():
    assert installed_plugins() == []
    with pytest.raises(ValueError, match="unknown plug-in 'fine'; installed plug-ins: none"):
        load_plugin("fine")


def test_packages_are_found_without_import(installed):
    found = {plugin.name: plugin for plugin in installed_plugins()}
    assert found["fine"] == InstalledPlugin("fine", "fine_method:MyLoss", "fine-method", "0.3")
    assert "broken" in found
    with pytest.raises(ValueError, match=r"unknown plug-in 'brokn'; did you mean broken\?"):
        load_plugin("brokn")


def test_load_by_name(installed):
    assert load_plugin("fine").name == "my_loss"
    assert issubclass(load_plugin("fine"), Plugin)


def test_broken_plugins_are_reported_with_their_package(installed):
    with pytest.raises(ValueError, match=r"plug-in broken \(fine_method_gone:Plugin, fine-method 0.3\) cannot be lo"):
        load_plugin("broken")
    with pytest.raises(ValueError, match=r"plug-in odd .* is not a class derived from mot_core.plugins.Plugin"):
        load_plugin("odd")


def test_plugin_from_a_file(tmp_path, monkeypatch):
    path = tmp_path / "json.py"  # the name of another module, which must not be replaced
    path.write_text(CODE)
    monkeypatch.setenv("MOT_CORE_PLUGINS", f"{path}:MyLoss")
    (plugin,) = installed_plugins()
    assert (plugin.name, plugin.package) == ("my-loss", "MOT_CORE_PLUGINS")
    assert load_plugin("my-loss") is load_plugin("my-loss")
    import json

    assert json.loads("[1]") == [1]


def test_variable_takes_precedence(installed, tmp_path, monkeypatch):
    (tmp_path / "new_method.py").write_text(CODE.replace("MyLoss", "Fine"))
    monkeypatch.setenv("MOT_CORE_PLUGINS", "new_method:Fine")
    assert [plugin.name for plugin in installed_plugins()].count("fine") == 2
    assert load_plugin("fine").__name__ == "Fine"


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("nonsense", "MOT_CORE_PLUGINS: expected module:Class or path/file.py:Class, got 'nonsense'"),
        ("a:b c:1d", "got 'c:1d'"),
    ],
)
def test_invalid_variables_are_rejected(monkeypatch, variable, message):
    monkeypatch.setenv("MOT_CORE_PLUGINS", variable)
    with pytest.raises(ValueError, match=message):
        installed_plugins()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (None, "does not exist"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_invalid_files_are_reported_every_time(tmp_path, monkeypatch, file, message):
    path = tmp_path / "bad.py"
    if file is not None:
        path.write_text(file)
    monkeypatch.setenv("MOT_CORE_PLUGINS", f"{path}:Bad")
    for _ in range(2):
        with pytest.raises(ValueError, match=f"plug-in bad .*MOT_CORE_PLUGINS.* cannot be loaded: .*{message}"):
            load_plugin("bad")


def test_duplicate_names_are_rejected(monkeypatch):
    class Point:
        name, value, dist = "fine", "somewhere:Fine", None

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point, Point])
    with pytest.raises(ValueError, match=r"plug-in 'fine' is provided by \? and in \?; uninstall one"):
        load_plugin("fine")
