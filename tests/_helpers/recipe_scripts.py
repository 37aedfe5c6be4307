"""Import of the scripts in examples/recipes, and comparison with the code of their pages."""

import ast
import importlib
import sys
from contextlib import contextmanager
from pathlib import Path

from test_docs import python_blocks

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "recipes"
SHARED = ("clips", "queries")  # modules that the scripts import from their folder


@contextmanager
def imported(name, monkeypatch):
    """Import a script as if it were run in its folder, and forget it afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    names = (name, *SHARED)
    for one in names:
        monkeypatch.delitem(sys.modules, one, raising=False)
    yield importlib.import_module(name)
    for one in names:
        sys.modules.pop(one, None)


def functions_on_page(page):
    """Return the source of every function on a page of docs/recipes by name."""
    text = (ROOT / "docs" / "recipes" / f"{page}.md").read_text(encoding="utf-8")
    return {name: source for code in python_blocks(text) for name, source in _functions(code).items()}


def functions_in_script(name):
    """Return the source of every function of a script by name."""
    return _functions((FOLDER / f"{name}.py").read_text(encoding="utf-8"))


def _functions(code):
    return {node.name: ast.unparse(node) for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
