"""Recipes: fewer than ten added lines each, with existing functions and arguments."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import unitrack_loss
from unitrack_loss import converters

OTHER = {"index", "fdta", "lamotr"}  # pages of other methods
PAGES = sorted(path for path in (Path(__file__).parents[2] / "docs" / "recipes").glob("*.md") if path.stem not in OTHER)
OURS = {name: getattr(converters, name) for name in converters.__all__}


def added_lines(page):
    blocks = re.findall(r"^```diff\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line[1:] for block in blocks for line in block.splitlines() if line.startswith("+")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_recipe_is_short_and_uses_existing_names(page):
    lines = added_lines(page)
    assert 0 < len([line for line in lines if not line.startswith(("from ", "import "))]) < 10
    calls = []
    for line in lines:
        if line.rstrip().endswith(":"):
            line += " pass"
        for node in ast.walk(ast.parse(textwrap.dedent(line))):
            if isinstance(node, ast.ImportFrom):
                module = {"unitrack_loss": unitrack_loss, "unitrack_loss.converters": converters}[node.module]
                assert all(hasattr(module, alias.name) for alias in node.names)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OURS:
                keywords = {keyword.arg: None for keyword in node.keywords}
                inspect.signature(OURS[node.func.id]).bind(*node.args, **keywords)
                calls.append(node.func.id)
    assert len(calls) == 1


def test_every_converter_has_a_recipe():
    text = "".join("\n".join(added_lines(page)) for page in PAGES)
    assert all(f"{name}(" in text for name in OURS)
    index = (PAGES[0].parent / "index.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in index for name in OURS)
    assert all(f"({page.name})" in index for page in PAGES)
