"""Every installed plug-in on every trainable tracker: training, weighting, and bit-identical results at weight zero.

Trackers are registered in `_helpers/trackers/tracker_cases.py`, plug-ins in `_helpers/plugin_cases.py`.
"""

import functools
import inspect

import lightning
import pytest
import torch
from jsonargparse import ArgumentParser

from _helpers.conformance import PAIRS, REFUSED, check_clip
from _helpers.plugin_cases import ADAPTERS, CALLBACKS, PLUGINS
from _helpers.trackers.tracker_cases import DETR_TRACKERS, TRACKERS, Losses, batches, make, synthetic, trainer
from mot_core.association.registry import trainable_trackers
from mot_core.cli.fit.configs import shipped_configs
from mot_core.cli.fit.registered import import_registered
from mot_core.plugins import installed_plugins
from mot_core.trackers import Tracker
from mot_core.trackers.motr import track_queries

EACH_PLUGIN = pytest.mark.parametrize("plugin", PLUGINS)


EACH_PAIR = pytest.mark.parametrize(("name", "plugin"), PAIRS)


@pytest.fixture(autouse=True)
def tracks_of_untrained_trackers(monkeypatch):
    """Let MOTR carry objects on into the next frame although untrained boxes hardly overlap them."""
    monkeypatch.setattr(track_queries, "MIN_IOU", -1.0)


def own(tracker):
    return [item for item in tracker.named_parameters() if not item[0].startswith("plugins.")]


def steps(name, *plugins, **options):
    """Return losses, gradients and weights of three training steps, without those of plug-ins."""
    tracker = make(name, *plugins, **options)
    optimizer = torch.optim.SGD(tracker.parameters(), lr=1e-3)
    found = []
    for step, batch in enumerate(batches()):
        losses, _ = tracker.losses(batch, step=step)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        found += [value for key, value in losses.items() if "/" not in key]
        found += [one.grad.clone() for _, one in own(tracker) if one.grad is not None]
    return [*found, *(value for key, value in tracker.state_dict().items() if not key.startswith("plugins."))]


@functools.cache
def steps_alone(name):
    """Return ``steps`` of a tracker without plug-ins, which all pairs compare with."""
    return steps(name)


def fit(name, folder, *callbacks):
    """Train for an epoch, and return the tracker, the trainer and the losses of all steps."""
    losses, tracker = Losses(), make(name)
    run = trainer(folder, *callbacks, losses, max_epochs=1)
    run.fit(tracker, datamodule=synthetic())
    return tracker, run, losses.values


@pytest.fixture(scope="module")
def losses_alone(tmp_path_factory):
    """Losses of every tracker without plug-ins, trained when first asked for."""
    return functools.cache(lambda name: fit(name, tmp_path_factory.mktemp(name))[2])


def assert_equal_bits(one, other):
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_tracker_has_a_case():
    assert trainable_trackers().keys() <= TRACKERS.keys()


def test_every_plugin_has_a_case():
    installed = {plugin.name: plugin.load() for plugin in installed_plugins()}
    assert installed.keys() == PLUGINS.keys() == CALLBACKS.keys()
    assert all(found.name == name for name, found in installed.items())


@pytest.mark.parametrize("name", trainable_trackers())
def test_tracker_registration(name):
    """The configs of the class are shipped, and one of them needs no files."""
    tracker = trainable_trackers()[name]
    assert issubclass(tracker, Tracker)
    assert f"{name}_synthetic" in tracker.configs
    assert set(tracker.configs) <= shipped_configs().keys()
    arguments = make(name).arguments.keys()
    assert set(tracker.tracking_parameters) - arguments <= set(tracker.__init__.__annotations__)


@EACH_PAIR
def test_training(name, plugin):
    tracker, logged = make(name, PLUGINS[plugin]()), {}
    losses, clip = tracker.losses(batches()[0], log=logged.__setitem__)
    check_clip(clip, tracker.capabilities)
    assert losses[f"{plugin}/loss"].item() == pytest.approx(0.5 * logged[f"{plugin}/loss"].item())
    loss = sum(losses.values()) if plugin in ADAPTERS else losses[f"{plugin}/loss"]
    loss.backward()
    gradient = own(tracker)[0][1].grad
    assert gradient.isfinite().all()
    assert gradient.any(), "the loss does not reach the first layer"
    learned = [one.grad for one in tracker.plugins[plugin].parameters() if one.requires_grad]
    assert all(one is not None for one in learned), "a parameter is not in the graph"
    assert not learned or any(one.any() for one in learned), "the plug-in does not learn"


@pytest.mark.parametrize(("name", "plugin"), REFUSED)
def test_missing_capability(name, plugin):
    tracker = make(name, PLUGINS[plugin]())
    with pytest.raises(ValueError, match=rf"plug-in '{plugin}' needs a tracker that .*; installed trackers that do: "):
        tracker.setup()


@EACH_PAIR
def test_zero_weight_is_bit_identical(name, plugin):
    assert_equal_bits(steps_alone(name), steps(name, PLUGINS[plugin](weight=0.0)))


@pytest.mark.parametrize(("name", "plugin"), [pair for pair in PAIRS if pair[0] in DETR_TRACKERS])
def test_checkpointing_is_bit_identical(name, plugin):
    options = {"gradient_frames": 1} if name == "motip" else {}  # equal frames in each call of the detector
    plain = steps(name, PLUGINS[plugin](), **options)
    assert_equal_bits(plain, steps(name, PLUGINS[plugin](), checkpointing=True, **options))


@EACH_PAIR
def test_callback(name, plugin, tmp_path, losses_alone):
    """The callback attaches the plug-in once, and changes the losses only if it has a weight."""
    assert fit(name, tmp_path, CALLBACKS[plugin](weight=0.0))[2] == losses_alone(name)
    tracker, run, losses = fit(name, tmp_path, CALLBACKS[plugin]())
    assert losses != losses_alone(name)
    assert list(tracker.plugins) == [plugin]
    assert f"train/{plugin}/loss" in run.callback_metrics
    run.validate(tracker, datamodule=synthetic(), verbose=False)
    assert list(tracker.plugins) == [plugin], "attached again by the second stage"


@EACH_PLUGIN
def test_callback_on_another_module(plugin):
    callback = CALLBACKS[plugin]()
    message = f"{type(callback).__name__}: expected a mot-core tracker, got LightningModule; attach "
    with pytest.raises(TypeError, match=f"{message}{type(callback.plugin).__name__}"):
        callback.setup(None, lightning.LightningModule(), "fit")


@EACH_PLUGIN
def test_callback_flags(plugin, capsys):
    """Arguments of the plug-in are flags of the callback, with help from its docstring."""
    import_registered()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--callback", type=lightning.Callback)
    name = type(CALLBACKS[plugin]()).__name__
    parsed = parser.parse_args([f"--callback={name}", "--callback.weight=0.3", "--callback.warmup_steps=7"])
    assert parsed.callback.init_args.weight == 0.3
    assert parsed.callback.init_args.warmup_steps == 7
    with pytest.raises(SystemExit):
        parser.parse_args([f"--callback.help={name}"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--callback.warmup_steps WARMUP_STEPS" in text
    default = inspect.signature(type(PLUGINS[plugin]())).parameters["warmup_steps"].default
    assert f"type: int, default: {default}" in text
