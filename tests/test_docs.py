"""Python blocks of the documentation run from top to bottom of each page, and relative links are valid."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "packages/*/*.md", "benchmarks/*.md", "examples/*.md")
    for path in sorted(ROOT.glob(pattern))
    if "_template" not in path.parts
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def name(path):
    return str(path.relative_to(ROOT))


def python_blocks(text):
    """Return the code of each block, padded to its line number, so that tracebacks point into the page."""
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))], ids=name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__docs__"}
    for code in python_blocks(page.read_text(encoding="utf-8")):
        exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_are_valid(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    dead = [
        target
        for target in LINK.findall(text)
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()
    ]
    assert not dead, f"{name(page)} links to files that do not exist: {dead}"


def test_failing_blocks_report_their_line():
    (code,) = python_blocks("# Title\n\n```python\nx = 1\nraise KeyError(x)\n```\n")
    with pytest.raises(KeyError) as caught:
        exec(compile(code, "page.md", "exec"), {})
    assert caught.traceback[-1].lineno + 1 == 5
