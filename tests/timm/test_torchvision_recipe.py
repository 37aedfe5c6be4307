"""The recipe of docs/recipes/torchvision.md: the script runs on Faster R-CNN of torchvision."""

import os
import runpy
from pathlib import Path

import pytest

if "MOT_TIMM" not in os.environ:
    pytest.skip("needs torchvision: nox -s tests_timm", allow_module_level=True)

import torch
import torchvision
from torchvision.models.detection.roi_heads import RoIHeads

from mot_core.boxes import nms

RECIPE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "recipes" / "faster_rcnn.py"))


@pytest.fixture(autouse=True)
def without_compiled_operators(monkeypatch):
    """Replace NMS, which wheels built for CUDA lack next to a CPU build of PyTorch, and do not compile RoIAlign."""
    monkeypatch.setattr(
        torchvision.ops.boxes, "batched_nms", lambda boxes, scores, groups, most: nms(boxes, scores, most, groups)
    )
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def losses_of(kind):
    """Losses of the same model and clip, with the heads of torchvision or those of the recipe."""
    torch.manual_seed(0)
    model = RECIPE["build"]().train()
    model.roi_heads.__class__ = kind
    torch.manual_seed(1)  # proposals are sampled
    return model, model(*next(RECIPE["clips"]()))


def test_losses_of_torchvision_are_unchanged():
    """The regression targets are used: both losses of the heads are those of RoIHeads."""
    _, theirs = losses_of(RoIHeads)
    _, ours = losses_of(RECIPE["Heads"])
    assert set(ours) == {*theirs, "loss_unitrack"}
    assert theirs["loss_box_reg"] > 0
    for name, loss in theirs.items():
        torch.testing.assert_close(ours[name], loss, rtol=0, atol=0)


def test_loss_trains_the_features_of_the_box_head():
    model, losses = losses_of(RECIPE["Heads"])
    assert losses["loss_unitrack"] > 0
    losses["loss_unitrack"].backward()
    trained = {
        name.rpartition(".")[0] for name, one in model.named_parameters() if one.grad is not None and one.grad.any()
    }
    assert trained >= {"roi_heads.box_head.fc6", "backbone.0"}
    assert "roi_heads.box_predictor.bbox_pred" not in trained, "the default terms train embeddings, not boxes"
    assert not any(name.startswith("rpn") for name in trained)


def test_script(capsys):
    history = RECIPE["main"](["--steps", "2"])
    assert len(history) == 2
    assert "step 1: " in capsys.readouterr().out
