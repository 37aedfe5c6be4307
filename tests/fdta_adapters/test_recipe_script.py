"""The script of docs/recipes/fdta.md: it trains, with the functions of the page."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from test_docs import python_blocks

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "recipes" / "fdta_dense.py"


def functions(code):
    return {node.name: ast.unparse(node) for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}


def test_functions_of_the_page_are_those_of_the_script():
    page = (ROOT / "docs" / "recipes" / "fdta.md").read_text(encoding="utf-8")
    shown = {name: text for code in python_blocks(page) for name, text in functions(code).items()}
    assert len(shown) == 4
    assert shown.items() <= functions(SCRIPT.read_text(encoding="utf-8")).items()


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    for name in ("clips", SCRIPT.stem):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(SCRIPT.stem)
    for name in ("clips", SCRIPT.stem):
        sys.modules.pop(name, None)


def test_detector_and_adapters_learn(recipe, monkeypatch):
    models = []
    train = recipe.train
    monkeypatch.setattr(
        recipe, "train", lambda model, *args, **more: models.append(model) or train(model, *args, **more)
    )
    losses = [one["total_loss"] for one in recipe.main(["--steps", "30"])]
    assert sum(losses[-10:]) < sum(losses[:10])
    (model,) = models
    adapters = {name for name, one in model.named_parameters() if one.grad is not None and one.grad.any()}
    assert any(name.startswith("head.") for name in adapters)
    assert len([name for name in adapters if "plugins" in name]) > 3
