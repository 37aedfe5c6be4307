"""The script of docs/recipes/lamotr.md: it trains, with the functions of the page."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from test_docs import python_blocks

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "recipes" / "learned_association.py"


def functions(code):
    return {node.name: ast.unparse(node) for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}


def test_functions_of_the_page_are_those_of_the_script():
    page = (ROOT / "docs" / "recipes" / "lamotr.md").read_text(encoding="utf-8")
    shown = {name: text for code in python_blocks(page) for name, text in functions(code).items()}
    assert len(shown) == 5
    assert shown.items() <= functions(SCRIPT.read_text(encoding="utf-8")).items()


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    for name in ("clips", SCRIPT.stem):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(SCRIPT.stem)
    for name in ("clips", SCRIPT.stem):
        sys.modules.pop(name, None)


def test_the_association_learns(recipe):
    losses = [one["loss_association"] for one in recipe.main(["--steps", "60"])]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
