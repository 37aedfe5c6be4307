"""The script of docs/recipes/lamotr.md: it trains, with the functions of the page."""

import pytest

from _helpers.recipe_scripts import functions_in_script, functions_on_page, imported


def test_functions_of_the_page_are_those_of_the_script():
    shown = functions_on_page("lamotr")
    assert len(shown) == 5
    assert shown.items() <= functions_in_script("learned_association").items()


@pytest.fixture
def recipe(monkeypatch):
    with imported("learned_association", monkeypatch) as module:
        yield module


def test_the_association_learns(recipe):
    losses = [one["loss_association"] for one in recipe.main(["--steps", "60"])]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
