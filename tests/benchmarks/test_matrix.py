from _helpers.conformance import PAIRS
from benchmarks import matrix
from benchmarks.pages import fill
from mot_core.association.registry import trainable_trackers
from mot_core.plugins import Plugin, installed_plugins


def installed():
    return trainable_trackers(), {point.name: point.load() for point in installed_plugins()}


def test_page_is_current(tmp_path):
    page = tmp_path / "matrix.md"
    page.write_text(matrix.PAGE.read_text())
    fill(page, matrix.tables(*installed()))
    assert page.read_text() == matrix.PAGE.read_text(), "run python -m benchmarks.matrix"


def test_every_yes_is_a_pair_of_the_conformance_suite():
    trackers, plugins = installed()
    possible = {
        (name, plugin)
        for name, tracker in trackers.items()
        for plugin in plugins
        if matrix.cell(name, tracker, plugins[plugin]) == "yes"
    }
    assert possible == {(name, plugin) for name, plugin in PAIRS if name in trackers}


def test_a_missing_capability_is_named():
    class Adapter(Plugin):
        name = "adapter"
        requires = ("ids", ("assoc", "history"))

    trackers, _ = installed()
    assert matrix.cell("motr", trackers["motr"], Adapter) == "no `assoc or history`"
    assert matrix.cell("gtr", trackers["gtr"], Adapter) == "yes"


def test_recipes_exist():
    for (plugin, _), page in matrix.RECIPES.items():
        assert (matrix.ROOT / "docs" / "recipes" / page).exists()
        assert any(name.startswith(plugin.rstrip("*")) for name in installed()[1])
