"""The functions of a page of recipes, so that tests run what readers copy."""

import inspect
from pathlib import Path

from test_docs import python_blocks

PAGES = Path(__file__).parents[2] / "docs" / "recipes"


def recipes_of(page):
    """Return the names that the Python blocks of a page define, and the code lines of each function."""
    path = PAGES / page
    names = {"__name__": "__recipes__"}
    text = path.read_text(encoding="utf-8")
    for code in python_blocks(text):
        exec(compile(code, str(path), "exec"), names)
    lines = {}
    for name, value in names.items():
        if inspect.isfunction(value) and value.__code__.co_filename == str(path):
            lines[name] = [line for line in inspect.getsource(value).splitlines() if line.strip()]
    return names, lines
