"""The script of docs/recipes/fdta.md: it trains, with the functions of the page."""

import pytest

from _helpers.recipe_scripts import functions_in_script, functions_on_page, imported


def test_functions_of_the_page_are_those_of_the_script():
    shown = functions_on_page("fdta")
    assert len(shown) == 4
    assert shown.items() <= functions_in_script("fdta_dense").items()


@pytest.fixture
def recipe(monkeypatch):
    with imported("fdta_dense", monkeypatch) as module:
        yield module


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
