"""Plug-ins on the shipped trackers: neutrality, training, checkpoints and missing capabilities."""

import copy

import pytest
import torch

from _helpers.conformance import check_clip, check_gradient
from _helpers.trackers.small_tracker import Depth, Pull, Refiner
from _helpers.trackers.tracker_cases import DETR_TRACKERS, batches, make, synthetic, trainer
from mot_core.association.registry import trainable_trackers
from mot_core.plugins import CAPABILITIES, Plugin

# LA-MOTR updates its queries itself, which the plug-in `Refiner` asks for; the conformance suite has its plug-ins.
EACH_TRACKER = pytest.mark.parametrize("name", [name for name in DETR_TRACKERS if name != "lamotr"])


class RandomPlugin(Plugin):
    """Plug-in that draws random numbers in its hooks."""

    name = "drops"

    def setup(self, spec):
        self.layer = torch.nn.Linear(spec.embed_dim, 1)
        return {}

    def on_decoder_layer(self, layer, hidden, ctx):
        ctx.store[ctx.frame, layer] = self.layer(torch.nn.functional.dropout(hidden)).mean()
        return hidden

    def on_clip_loss(self, clip, ctx):
        return {"mean": sum(ctx.store.values()) * torch.rand(())}


class RecordingPlugin(Plugin):
    """Plug-in that records the called hooks without changes."""

    name = "recording"

    def __init__(self):
        super().__init__(weight=0)
        self.calls = set()

    def on_features(self, features, ctx):
        self.calls.add("features")
        return features

    def on_decoder_layer(self, layer, hidden, ctx):
        self.calls.add(f"layer {layer}")
        return hidden

    def on_embeddings(self, frame, ctx):
        self.calls.add("embeddings")
        return frame

    def on_tracks_update(self, frame, tracks, ctx):
        self.calls.add("tracks")
        return tracks

    def on_associate(self, frame, tracks, ctx):
        self.calls.add("associate")

    def on_clip_loss(self, clip, ctx):
        self.calls.add("loss")
        return {}


def train(name, plugins, steps, **options):
    """Train and track, and return all results as a list of named tensors."""
    tracker = make(name, *plugins, **options)
    optimizer = torch.optim.SGD(tracker.parameter_groups(), lr=1e-3, momentum=0.9)
    found = []
    for step, batch in enumerate(batches()[:steps]):
        losses, clip = tracker.losses(batch, step=step)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        found += [(key, value) for key, value in losses.items() if "/" not in key]
        found += [(f"boxes {t}", frame.boxes_cxcywh) for t, frame in enumerate(clip.frames)]
        found += [(f"{key} gradient", one.grad.clone()) for key, one in own(tracker) if one.grad is not None]
        optimizer.step()
    found += [(key, value) for key, value in tracker.state_dict().items() if not key.startswith("plugins.")]
    return found + tracked(tracker)


def own(tracker):
    return [item for item in tracker.named_parameters() if not item[0].startswith("plugins.")]


def tracked(tracker):
    """Return the tracks of a video, with thresholds low enough for an untrained tracker."""
    tracker = copy.deepcopy(tracker).eval()
    for name in ("birth_threshold", "keep_threshold", "report_threshold", "detection_threshold"):
        setattr(tracker, name, 0.005)
    if hasattr(tracker, "memory"):
        tracker.memory.newborn_threshold = 0.005
    found = []
    for batch in list(synthetic().val_dataloader())[:4]:
        tracks = tracker.track(batch)
        found += [("ids", tracks.ids), ("boxes", tracks.boxes_xyxy)]
    assert any(len(value) for _, value in found)
    return found


def assert_same(a, b):
    assert [name for name, _ in a] == [name for name, _ in b]
    different = [name for (name, x), (_, y) in zip(a, b, strict=True) if not torch.equal(x, y)]
    assert not different


@EACH_TRACKER
@pytest.mark.parametrize("checkpointing", [False, True])
def test_plugins_of_weight_zero_are_bit_identical(name, checkpointing):
    plugins = [RecordingPlugin(), Pull(weight=0), RandomPlugin(weight=0)]
    options = {"checkpointing": checkpointing}
    assert_same(train(name, [], 3, **options), train(name, plugins, 3, **options))
    hooks = {"features", "layer 0", "layer 1", "embeddings", "tracks", "loss"}
    assert plugins[0].calls >= hooks, "all hooks must be called"


@EACH_TRACKER
def test_zero_gates_are_bit_identical_in_the_first_step(name):
    """The gates get gradient from the tracker's losses, and open with the first step."""
    plain, gated = train(name, [], 1), train(name, [Depth(weight=0), Pull(weight=0)], 1)
    assert_same(plain[: len(plain) - 8], gated[: len(gated) - 8])


@EACH_TRACKER
def test_plugins_train_with_the_tracker(name):
    tracker = make(name, Depth(), Refiner(), Pull(weight=2.0))
    (batch, *_) = batches()
    logged = {}
    losses, clip = tracker.losses(batch, log=logged.__setitem__)
    assert {"depth/loss", "refiner/size", "pull/step"} <= losses.keys()
    assert losses["pull/step"].item() == pytest.approx(2 * logged["pull/step"].item())
    assert all(frame.aux for frame in clip.frames), "the raw outputs are kept"
    sum(losses[key] for key in ("depth/loss", "refiner/size", "pull/step")).backward(retain_graph=True)
    assert tracker.detector.backbone.stem.weight.grad.any()
    before = {key: one.grad.clone() for key, one in own(tracker) if one.grad is not None}
    sum(value for key, value in losses.items() if "/" not in key).backward()
    assert any(not torch.equal(before[key], one.grad) for key, one in own(tracker) if key in before)
    for key, parameter in tracker.plugins.named_parameters():
        # A zero gate blocks the gradient to its input.
        assert parameter.grad is not None, key
        assert parameter.grad.any() or key.startswith("depth.value"), key


@EACH_TRACKER
@pytest.mark.parametrize("plugins", [lambda: [], lambda: [Depth(), Refiner(), Pull()]])
def test_clips_are_valid(name, plugins):
    tracker = make(name, *plugins())
    for head in tracker.detector.decoder.box_heads:  # initialized to zero
        torch.nn.init.normal_(head.layers[-1].weight, std=0.1)
    for batch in batches(num_objects=(0, 3)):
        _, clip = tracker.losses(batch)
        check_clip(clip, tracker.capabilities)
        check_gradient(clip, tracker.capabilities, tracker.detector.backbone.stem.weight)


@EACH_TRACKER
def test_checkpointing_with_plugins_is_bit_identical(name):
    """Frames are processed separately, so that calls of the detector have equal images."""
    options = {"gradient_frames": 1} if name == "motip" else {}
    plugins = [[Depth(weight=0.5), Refiner(), Pull(), RandomPlugin(weight=0.1)] for _ in range(2)]
    plain = train(name, plugins[0], 3, **options)
    assert_same(plain, train(name, plugins[1], 3, checkpointing=True, **options))
    state = [dict(torch.nn.ModuleList(one).state_dict()) for one in plugins]
    assert state[0].keys() == state[1].keys()
    assert all(torch.equal(value, state[1][key]) for key, value in state[0].items())


@EACH_TRACKER
def test_missing_capability_error_lists_suitable_trackers(name):
    class Needs(Plugin):
        name = "needs"

    plugin = Needs()
    plugin.requires = [next(key for key in CAPABILITIES if key not in make(name).capabilities)]
    others = [key for key, one in trainable_trackers().items() if plugin.requires[0] in one.capabilities]
    own = type(make(name)).__name__
    message = f"plug-in 'needs' needs a tracker that .*, and '{own}' does not; installed trackers that do: "
    with pytest.raises(ValueError, match=message + (", ".join(others) or "none")):
        trainer(None).fit(make(name, plugin), synthetic())


@EACH_TRACKER
def test_plugins_train_in_a_trainer_and_are_restored(tmp_path, name):
    plugins = Depth(weight=0.5), Refiner(), Pull()
    tracker = make(name, *plugins)
    run = trainer(tmp_path, max_epochs=1, limit_val_batches=2)
    run.fit(tracker, synthetic())
    assert {"train/depth/loss", "train/refiner/score", "train/pull/step"} <= run.callback_metrics.keys()
    assert "plugins" in {group["name"] for group in run.optimizers[0].param_groups}
    assert plugins[0].gates.any(), "the gates are nonzero"
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = type(tracker).from_checkpoint(tmp_path / "x.ckpt", Depth(), Refiner())
    assert torch.equal(again.plugins["depth"].gates, plugins[0].gates)
    with pytest.raises(ValueError, match="the plug-in 'depth', which also acts in tracking: unknown plug-in"):
        type(tracker).from_checkpoint(tmp_path / "x.ckpt", Pull())
