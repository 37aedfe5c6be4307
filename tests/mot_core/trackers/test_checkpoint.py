"""Checkpoints: recorded arguments, and trackers built from them."""

import copy
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from _helpers.trackers.toy_tracker import SMALL, ToyTracker, make_toy, synthetic, trainer
from mot_core.plugins import Plugin
from mot_core.trackers import OptimizerSettings, Tracker


@dataclass(frozen=True)
class Inner:
    sides: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    weights: Mapping[str, float] = field(default_factory=dict)


class Nested(ToyTracker):
    def __init__(self, outer: Outer | None = None, epochs: dict[int, int] | None = None, **more):
        super().__init__(**more)
        self.outer, self.epochs = outer, epochs


class LossOnly(Plugin):
    name = "only"

    def setup(self, spec):
        self.scale = torch.nn.Parameter(torch.ones(()))
        return {}

    def on_clip_loss(self, clip, ctx):
        return {"mean": self.scale * clip.frames[0].boxes_cxcywh.mean()}


class ActsInTracking(Plugin):
    name = "acts"

    def setup(self, spec):
        self.shift = torch.nn.Parameter(torch.zeros(spec.embed_dim))
        return {}

    def on_decoder_layer(self, layer, hidden, ctx):
        return hidden + self.shift


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tracker trained for two steps with both plug-ins, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    tracker = make_toy(width=2, spread=(0.5, 1), optimizer=OptimizerSettings(lr=1e-3, milestones=(1, 2)))
    tracker.attach(LossOnly())
    tracker.attach(ActsInTracking())
    fit = trainer(folder, limit_train_batches=2, limit_val_batches=0)
    fit.fit(tracker, synthetic())
    fit.save_checkpoint(folder / "two.ckpt")
    return tracker, folder / "two.ckpt"


def test_recorded_arguments():
    assert ToyTracker().arguments == {}
    plain = {"backbone": "small", "num_queries": 8, "embed_dim": 32}
    by_position = ToyTracker(SMALL, None, 2, spread=(1, 2), seed=7).arguments
    assert plain.items() <= by_position.pop("detector").items()
    assert by_position == {"optimizer": None, "width": 2, "spread": [1, 2], "seed": 7}
    nested = Nested(Outer(Inner((3, 4)), {"a": np.float64(0.5)}), {0: 2}, width=1).arguments
    assert nested == {"outer": {"inner": {"sides": [3, 4]}, "weights": {"a": 0.5}}, "epochs": {0: 2}, "width": 1}
    assert type(nested["outer"]["weights"]["a"]) is float, "NumPy numbers cannot be read with weights_only=True"


def test_arguments_that_cannot_be_recorded_are_rejected():
    with pytest.raises(
        TypeError, match=r"ToyTracker: argument 'width': expected numbers, strings, .* got Linear; checkpoints"
    ):
        ToyTracker(width=torch.nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"argument 'spread'.* got int64"):
        ToyTracker(spread=[np.int64(3)])
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        ToyTracker(depth=1)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda tracker: pickle.loads(pickle.dumps(tracker))])
def test_copies_keep_arguments_and_weights(clone):
    tracker = make_toy(width=2)
    tracker.eval().track(next(iter(synthetic().val_dataloader())))
    copied = clone(tracker)
    assert copied.arguments == tracker.arguments == {"width": 2}
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), tracker.parameters(), strict=True))
    assert copied.detector is not tracker.detector


def test_arguments_are_restored(tmp_path):
    tracker = Nested(Outer(Inner((3, 4)), {"a": 0.5}), {0: 2}, width=1, detector=SMALL, seed=9)
    fit = trainer(tmp_path, limit_train_batches=1, limit_val_batches=0)
    fit.fit(tracker, synthetic())
    fit.save_checkpoint(tmp_path / "nested.ckpt")
    again = Tracker.from_checkpoint(tmp_path / "nested.ckpt")
    assert type(again) is Nested
    assert again.outer == tracker.outer, "a tuple in a dataclass in a dataclass"
    assert (again.epochs, again.width, again.seed) == ({0: 2}, 1, 9)
    assert again.arguments == tracker.arguments


def test_tracker_of_a_checkpoint(trained):
    tracker, path = trained
    plugins = LossOnly(), ActsInTracking()
    for again in (
        Tracker.from_checkpoint(path, *plugins),
        ToyTracker.from_checkpoint(str(path), LossOnly(), ActsInTracking()),
    ):
        assert type(again).__name__ == "ToyTracker"  # pytest imports the file twice to collect doctests
        assert not again.training
        assert again.spread == (0.5, 1)
        assert again.optimizer == tracker.optimizer
        assert again.state_dict().keys() == tracker.state_dict().keys()
        for name, tensor in again.state_dict().items():
            assert torch.equal(tensor, tracker.state_dict()[name])
    assert plugins[1].shift.any(), "trained weights of plug-ins are loaded"


def test_checkpoint_is_read_with_weights_only(trained):
    content = torch.load(trained[1], weights_only=True)
    assert content["tracker"]["class"] == "ToyTracker"
    assert content["tracker"]["plugins"] == {"only": False, "acts": True}


def test_plugins_that_act_in_tracking_are_required(trained):
    tracker, path = trained
    again = Tracker.from_checkpoint(path, ActsInTracking())
    assert "only" not in again.plugins, "plug-ins with a loss only are optional"
    batch = next(iter(synthetic().val_dataloader()))
    assert torch.equal(again.track(batch).boxes_xyxy, copy.deepcopy(tracker).eval().track(batch).boxes_xyxy)
    with pytest.raises(
        ValueError,
        match=r"two\.ckpt was trained with the plug-in 'acts', which also acts in tracking: unknown plug-in 'acts'",
    ):
        Tracker.from_checkpoint(path)

    class Stranger(ActsInTracking):
        name = "stranger"

    with pytest.raises(ValueError, match="was trained without the plug-ins stranger; leave them out"):
        Tracker.from_checkpoint(path, ActsInTracking(), Stranger())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("tracker"), r"expected a checkpoint of a mot-core tracker.* `mot import`"),
        (lambda c: c["tracker"].pop("arguments"), "expected a checkpoint of a mot-core tracker"),
        (
            lambda c: c["tracker"].update({"class": "Other"}),
            "holds a tracker of class 'Other'; known classes are: .*ToyTracker",
        ),
        (lambda c: c.pop("state_dict"), r"does not fit its own tracker: .*Missing key"),
        (
            lambda c: c["state_dict"].update({"detector.query_embed.weight": torch.zeros(9, 64)}),
            r"does not fit its own tracker: .*size mismatch for detector\.query_embed\.weight",
        ),
        (
            lambda c: c["tracker"]["arguments"].update(more=1),
            "another version, its arguments do not fit: .*more",
        ),
    ],
)
def test_invalid_checkpoints_are_rejected(trained, tmp_path, change, message):
    path = tmp_path / "wrong.ckpt"
    content = torch.load(trained[1], weights_only=True)
    change(content)
    torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        Tracker.from_checkpoint(path, ActsInTracking())
    assert "\n" not in str(caught.value)
    assert "wrong.ckpt" in str(caught.value)


def test_other_files_are_rejected(trained, tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*x\.ckpt does not exist"):
        Tracker.from_checkpoint(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(ValueError, match=r"x\.ckpt: expected a checkpoint, got list"):
        Tracker.from_checkpoint(path)


def test_checkpoints_of_other_classes_are_rejected(trained):
    class ToyTracker(globals()["ToyTracker"]):
        """A class of the same name."""

    assert type(ToyTracker.__base__.from_checkpoint(trained[1], ActsInTracking())) is ToyTracker.__base__
    assert type(ToyTracker.from_checkpoint(trained[1], ActsInTracking())) is ToyTracker
    with pytest.raises(ValueError, match="holds a tracker of class 'ToyTracker'; known classes are: Nested"):
        Nested.from_checkpoint(trained[1], ActsInTracking())
