"""Plug-in and callback on trackers: training, weight, warm-up and neutrality at weight 0."""

import copy

import lightning
import pytest
import torch

from _helpers.trackers.small_tracker import SmallTracker, make_batch
from _helpers.trackers.tracker_cases import DETR_TRACKERS, Losses, batches, make, synthetic, trainer
from mot_core.plugins import Plugins, load_plugin
from mot_core.structures import TrackerSpec
from unitrack_loss import UniTrackOutput, UniTrackPlugin
from unitrack_loss.lightning import UniTrackCallback
from unitrack_loss.loss import OF_BOTH, OF_CAPACITY, OF_IDENTITY, OF_PAPER

TERMS = UniTrackOutput.__dataclass_fields__.keys() - {"total"}
LOGGED = {  # those with a weight
    "identity": TERMS - {*OF_PAPER, *OF_CAPACITY},
    "paper": TERMS - {*OF_IDENTITY, *OF_CAPACITY, *OF_BOTH},
}
EACH_TRACKER = pytest.mark.parametrize("name", DETR_TRACKERS)


def plugin(**options):
    return UniTrackPlugin(**({"weight": 0.5, "warmup_steps": 0, "min_score": 0.0} | options))


def steps(name, *plugins, **options):
    """Return losses, gradients and weights of three steps, excluding the plug-in's."""
    tracker = make(name, *plugins, **options)
    optimizer = torch.optim.SGD(tracker.parameters(), lr=1e-3)
    found = []
    for step, batch in enumerate(batches()):
        losses, _ = tracker.losses(batch, step=step)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        found += [value for key, value in losses.items() if not key.startswith("unitrack")]
        found += [one.grad.clone() for one in tracker.parameters() if one.grad is not None]
    return [*found, *tracker.state_dict().values()]


@EACH_TRACKER
def test_measuring_the_gradient_is_bitwise_neutral(name):
    often, never = steps(name, plugin(report_every=1)), steps(name, plugin(report_every=10**6))
    assert all(torch.equal(a, b) for a, b in zip(often, never, strict=True))


def test_warm_up():
    tracker = SmallTracker(plugin(weight=4.0, warmup_steps=2), dropout=0.0)
    values = [tracker(*make_batch(), step=step)[1]["unitrack/loss"].item() for step in range(4)]
    assert values[0] == 0
    assert values[2] == values[3] == pytest.approx(2 * values[1])
    assert UniTrackPlugin(weight=1.0, warmup_steps=100).weight_at(25) == 0.25


@pytest.mark.parametrize("checkpointing", [None, "plain"])
def test_gradient_share(checkpointing):
    """The share increases with the weight and is available after the first step."""
    shares = []
    for weight in (0.1, 1.0):
        torch.manual_seed(1)
        tracker = SmallTracker(plugin(weight=weight, report_every=2), dropout=0.0, checkpointing=checkpointing)
        logged = []
        for step in range(5):
            here = {}
            own, extra, _ = tracker(*make_batch(), step=step, log=here.__setitem__)
            (sum(own.values()) + sum(extra.values())).backward()
            logged.append(here)
        found = [here["unitrack/gradient_share"].item() for here in logged if "unitrack/gradient_share" in here]
        assert len(found) == 2  # steps 0 and 2, logged in steps 2 and 4
        assert found[0] == found[1]
        shares.append(found[0])
    assert 0 < shares[0] < shares[1] < 1


@EACH_TRACKER
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_share_counts_all_losses(name, checkpointing):
    """Compare with a direct measurement at the input of the last class head."""
    tracker = make(name, plugin(weight=0.5, report_every=2), checkpointing=checkpointing)
    batch, logged, inputs = batches()[0], {}, []
    hook = tracker.detector.class_heads[-1].register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    losses, _ = tracker.losses(batch)
    hook.remove()
    assert not tracker.detector.class_heads[-1]._forward_pre_hooks
    inputs = [one for one in inputs if one.requires_grad]

    def gradient(loss):
        found = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
        return torch.cat([(x * 0 if one is None else one).flatten() for x, one in zip(inputs, found, strict=True)])

    ours, total = gradient(losses["unitrack/loss"]), gradient(sum(losses.values()))
    assert gradient(losses["detection" if name == "lamotr" else "class"]).any()
    sum(losses.values()).backward()
    tracker.losses(batch, step=2, log=logged.__setitem__)
    share = ours.norm() / (ours.norm() + (total - ours).norm())
    assert logged["unitrack/gradient_share"].item() == pytest.approx(share.item(), rel=1e-4)


def test_overfits_a_clip():
    torch.manual_seed(0)
    tracker = SmallTracker(plugin(weight=1.0), dropout=0.0)
    optimizer = torch.optim.Adam(tracker.parameters(), lr=0.02)
    logged = {}
    first = None
    for step in range(40):
        _, extra, _ = tracker(*make_batch(), step=step, log=logged.__setitem__)
        optimizer.zero_grad()
        extra["unitrack/loss"].backward()
        optimizer.step()
        first = first or copy.copy(logged)
    assert logged["unitrack/loss"] < 0.5 * first["unitrack/loss"]
    assert logged["unitrack/edge_flow"] > first["unitrack/edge_flow"]


def test_requirements():
    plugins = Plugins(plugin())
    with pytest.raises(ValueError, match="plug-in 'unitrack' needs a tracker that is trained with identities"):
        plugins.setup(TrackerSpec("none", frozenset({"live_boxes"})))
    with pytest.raises(ValueError, match="report_every must be at least 1 step, got 0"):
        UniTrackPlugin(report_every=0)
    with pytest.raises(ValueError, match="window must be at least 2"):
        UniTrackPlugin(window=1)
    assert load_plugin("unitrack") is UniTrackPlugin


class Logged(lightning.Callback):
    def __init__(self):
        self.names = set()

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.names |= trainer.callback_metrics.keys()


@EACH_TRACKER
def test_callback(name, tmp_path):
    """Adding the callback changes the losses; training without it is unchanged."""
    runs = {}
    for kind, callbacks in {
        "without": [],
        "none": [UniTrackCallback(weight=0.0)],
        **{
            preset: [UniTrackCallback(weight=1.0, warmup_steps=0, min_score=0.0, report_every=2, preset=preset)]
            for preset in LOGGED
        },
    }.items():
        losses, logged = Losses(), Logged()
        tracker = make(name)
        trainer(tmp_path, *callbacks, losses, logged, max_epochs=1).fit(tracker, datamodule=synthetic())
        runs[kind] = losses.values, logged.names
        assert ("unitrack" in tracker.plugins) == bool(callbacks)
    assert runs["none"][0] == runs["without"][0] != runs["identity"][0] != runs["paper"][0]
    for preset, terms in LOGGED.items():
        own = {name.removeprefix("train/unitrack/") for name in runs[preset][1] if name.startswith("train/unitrack/")}
        assert {name.removesuffix("_step").removesuffix("_epoch") for name in own} == {*terms, "loss", "gradient_share"}


def test_callback_in_validation(tmp_path):
    """Fit and validate with one Trainer attach the callback once."""
    callback, tracker = UniTrackCallback(report_every=1), make("motr")
    runner = trainer(tmp_path, callback, max_epochs=1, limit_train_batches=1)
    runner.fit(tracker, datamodule=synthetic())
    runner.validate(tracker, datamodule=synthetic())
    runner.fit_loop.max_epochs = 2
    runner.fit(tracker, datamodule=synthetic())
    assert list(tracker.plugins) == ["unitrack"]
