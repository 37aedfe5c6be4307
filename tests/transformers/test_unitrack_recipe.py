"""The recipe of docs/recipes/hugging_face.md: the script runs on Deformable DETR of Hugging Face."""

import os
import runpy
from pathlib import Path

import pytest

if os.environ.get("MOT_TRANSFORMERS") != "1":
    pytest.skip("run by `nox -s tests_transformers`, which installs transformers", allow_module_level=True)

import torch

ROOT = Path(__file__).parents[2]
RECIPE = runpy.run_path(str(ROOT / "examples" / "recipes" / "hugging_face.py"))


@pytest.fixture
def step():
    """Model, matcher, images and labels of a training step."""
    torch.manual_seed(0)
    model = RECIPE["build"]().train()
    config = model.config
    matcher = RECIPE["DeformableDetrHungarianMatcher"](config.class_cost, config.bbox_cost, config.giou_cost)
    return model, matcher, *next(RECIPE["clips"]())


def test_matches_are_those_of_the_loss_of_the_model(step, monkeypatch):
    """The library's loss calls the same matcher class, so that both assign the same queries."""
    model, matcher, images, labels = step
    kind, calls = type(matcher), []
    forward = kind.forward
    monkeypatch.setattr(kind, "forward", lambda *args: calls.append(forward(*args)) or calls[-1])
    RECIPE["training_step"](model, matcher, images, labels)
    own, ours = calls[0], calls[-1]  # the loss of the last layer is computed first
    assert len(ours) == len(labels) == 3
    for one, other, label in zip(own, ours, labels, strict=True):
        assert len(one[0]) == len(label["boxes"]) > 0
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_loss_trains_queries_and_features(step):
    model, *rest = step
    _, unitrack = RECIPE["training_step"](model, *rest)
    assert unitrack > 0
    unitrack.backward()
    parts = {"query_position_embeddings", "decoder", "encoder"}  # of the embeddings
    trained = {
        part for part in parts for name, one in model.named_parameters() if part in name and one.grad is not None
        and one.grad.any()
    }  # fmt: skip
    assert trained == parts


def test_script(capsys):
    history = RECIPE["main"](["--steps", "3"])
    assert len(history) == 3
    assert "step 1: detector " in capsys.readouterr().out
