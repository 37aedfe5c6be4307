"""Scripts of examples/recipes with the names of other projects: they train, with the lines of the pages."""

import ast
import re
import sys
import textwrap

import pytest
import torch

from _helpers.recipe_scripts import FOLDER, ROOT, imported

SCRIPTS = {"bytetrack": "yolox", "fairmot": "fairmot", "gtr": "gtr", "motr": "motr", "trackformer": "trackformer"}
"""Script by page."""


@pytest.fixture(params=SCRIPTS.values())
def recipe(request, monkeypatch):
    with imported(request.param, monkeypatch) as module:
        yield module


def test_the_script_trains(recipe, capsys):
    history = recipe.main(["--steps", "12"])
    assert len(history) == 12
    assert all(torch.isfinite(torch.tensor([*losses.values()])).all() for losses in history)
    assert max(losses["loss_unitrack"] for losses in history) > 0
    own = [sum(value for name, value in losses.items() if name != "loss_unitrack") for losses in history]
    assert sum(own[-4:]) < sum(own[:4])
    assert "step 1:" in capsys.readouterr().out


def test_the_loss_alone_reaches_the_network(recipe, monkeypatch):
    captured = []
    monkeypatch.setattr(recipe, "train", lambda model, step, frames, steps: captured.append((model, step, frames)))
    recipe.main(["--steps", "1"])
    ((model, step, frames),) = captured
    losses = step(*next(sys.modules["clips"].clips(frames)))
    losses["loss_unitrack"].backward()
    assert any(one.grad is not None and one.grad.abs().max() > 0 for one in model.parameters())


def calls_in(code):
    """Return the calls of functions of unitrack_loss, as text."""
    ours = {"UniTrackLoss", "TrackClip", *(f"{name}_frame" for name in ("yolox", "motr", "trackformer"))}
    ours |= {"fairmot_clip", "gtr_clip"}
    found = set()
    for node in ast.walk(ast.parse(code)):
        function = node.func if isinstance(node, ast.Call) else None
        owner = function.value if isinstance(function, ast.Attribute) else function
        if isinstance(owner, ast.Name) and owner.id in ours:
            found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize(("page", "script"), SCRIPTS.items())
def test_the_page_shows_lines_of_the_script(page, script):
    text = (ROOT / "docs" / "recipes" / f"{page}.md").read_text(encoding="utf-8")
    assert f"python examples/recipes/{script}.py" in text
    wanted = set()
    for block in re.findall(r"^```diff\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("+"):
                line = textwrap.dedent(line[1:])
                wanted |= calls_in(line + (" pass" if line.rstrip().endswith(":") else ""))
    assert len(wanted) >= 2
    assert wanted <= calls_in((FOLDER / f"{script}.py").read_text(encoding="utf-8"))
