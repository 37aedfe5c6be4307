"""Plug-ins on a small tracker that calls every hook: neutrality, training and activation checkpointing."""

import pytest
import torch

from _helpers.trackers.small_tracker import LAYERS, Depth, Pull, Refiner, SmallTracker, make_batch
from mot_core.plugins import Plugin


class Recorder(Plugin):
    """Plug-in that records the hooks called in every frame."""

    name = "recorder"

    def setup(self, spec):
        self.calls = ["setup"]
        return {}

    def on_clip_start(self, ctx):
        self.calls.append("start")

    def on_features(self, features, ctx):
        self.calls.append(f"features {ctx.frame}")
        return features

    def on_decoder_layer(self, layer, hidden, ctx):
        self.calls.append(f"layer {layer} {ctx.frame}")
        return hidden

    def on_embeddings(self, frame, ctx):
        assert (frame.gt_index == -1).all()
        self.calls.append(f"embeddings {ctx.frame}")
        return frame

    def on_associate(self, frame, tracks, ctx):
        self.calls.append(f"associate {ctx.frame}")

    def on_tracks_update(self, frame, tracks, ctx):
        assert (frame.gt_index >= 0).any() == ctx.training
        self.calls.append(f"tracks {ctx.frame}")
        return tracks

    def on_clip_loss(self, clip, ctx):
        self.calls.append(f"loss {len(clip.frames)}")
        return {}


class RandomPlugin(Plugin):
    """Plug-in that draws random numbers in its hooks."""

    name = "drops"

    def setup(self, spec):
        self.layer = torch.nn.Linear(spec.embed_dim, 1)
        return {}

    def on_embeddings(self, frame, ctx):
        ctx.store[ctx.frame] = self.layer(torch.nn.functional.dropout(frame.embeddings)).mean()
        return frame

    def on_clip_loss(self, clip, ctx):
        return {"mean": sum(ctx.store.values()) * torch.rand(())}


def build(*plugins, **options):
    torch.manual_seed(3)
    return SmallTracker(*plugins, **options)


def train(tracker, steps=3):
    """Train, and return losses, outputs, gradients and weights as a list of named tensors."""
    optimizer = torch.optim.SGD(tracker.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(8)
    history = []
    for step in range(steps):
        own, extra, clip = tracker(*make_batch(seed=step), step=step)
        total = torch.stack([*own.values()]).sum()
        for value in extra.values():
            total = total + value
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history += [*own.items(), ("total", total)]
        history += [(f"boxes {t}", frame.boxes_cxcywh) for t, frame in enumerate(clip.frames)]
        own_parameters = [item for item in tracker.named_parameters() if not item[0].startswith("plugins.")]
        # The update module has no gradient if a plug-in replaces it.
        history += [(name, p.grad.clone()) for name, p in own_parameters if p.grad is not None]
    history += [(name, value) for name, value in tracker.state_dict().items() if not name.startswith("plugins.")]
    return history


def assert_same(a, b):
    assert [name for name, _ in a] == [name for name, _ in b]
    different = [name for (name, x), (_, y) in zip(a, b, strict=True) if not torch.equal(x, y)]
    assert not different


def test_order_of_hooks():
    recorder = Recorder()
    tracker = build(recorder)
    tracker(*make_batch(frames=2))
    frames = [
        [f"features {t}", *(f"layer {k} {t}" for k in range(LAYERS)), f"embeddings {t}", f"tracks {t}"]
        for t in range(2)
    ]
    assert recorder.calls == ["setup", "start", *frames[0], *frames[1], "loss 2"]
    recorder.calls.clear()
    tracker.eval().track(make_batch(frames=2)[0][0])
    assert recorder.calls == ["start", *frames[0], *frames[1][:-1], "associate 1", "tracks 1"]


@pytest.mark.parametrize(
    ("plugins", "steps"),
    [
        (lambda: [Pull(weight=0)], 3),
        (lambda: [Recorder(), Pull(weight=0), RandomPlugin(weight=0)], 3),
        # The gates get gradient from the tracker's losses, and open after the first step.
        (lambda: [Depth(weight=0), Pull(weight=0)], 1),
    ],
)
def test_plugins_of_weight_zero_are_bit_identical(plugins, steps):
    """Losses, outputs, gradients, weights and random numbers are equal, although both use dropout."""
    assert_same(train(build(), steps), train(build(*plugins()), steps))


def test_zero_gates_are_bit_identical_in_the_first_step():
    """The depth loss has a weight, and changes the backbone from the second step on."""
    plain, gated = train(build(), steps=1), train(build(Depth()), steps=1)
    outputs = [name.startswith(("frame", "boxes")) for name, _ in plain]
    assert_same(
        [item for item, keep in zip(plain, outputs, strict=True) if keep],
        [item for item, keep in zip(gated, outputs, strict=True) if keep],
    )


def test_names_of_plugin_parameters():
    names = {name for name, _ in build(Depth(), Refiner()).named_parameters() if name.startswith("plugins.")}
    assert {"plugins.depth.gates", "plugins.refiner.refine.weight"} <= names
    assert set(build(Depth()).state_dict()) - set(build().state_dict()) == {
        name for name, _ in build(Depth()).named_parameters() if name.startswith("plugins.")
    }


def test_losses_train_tracker_and_plugin():
    tracker = build(Depth(), Pull(weight=2.0), dropout=0.0)
    logged = {}
    own, extra, _ = tracker(*make_batch(), log=logged.__setitem__)
    assert set(extra) == {"depth/loss", "pull/step"} == set(logged)
    assert extra["pull/step"].item() == pytest.approx(2 * logged["pull/step"].item())
    torch.stack([*extra.values()]).sum().backward()
    assert tracker.backbone.weight.grad.abs().sum() > 0
    assert tracker.plugins["depth"].head.weight.grad.abs().sum() > 0
    assert not set(extra) & set(own)


def test_overfit_one_clip():
    tracker = build(Depth(), Pull(), dropout=0.0)
    optimizer = torch.optim.Adam(tracker.parameters(), lr=0.02)
    sums = []
    for step in range(40):
        _, extra, _ = tracker(*make_batch(), step=step)
        optimizer.zero_grad()
        sum(extra.values()).backward()
        optimizer.step()
        sums.append(sum(extra.values()).item())
    assert sums[-1] < 0.7 * sums[0]


def test_warmup_counts_steps():
    tracker = build(Pull(weight=4.0, warmup_steps=2), dropout=0.0)
    values = [tracker(*make_batch(), step=step)[1]["pull/step"].item() for step in range(4)]
    assert values[0] == 0
    assert values[1] > 0
    assert values[2] == values[3] == pytest.approx(2 * values[1])


def test_options_reach_the_tracker():
    plain, refined = build(), build(Refiner())
    assert plain.options["query_update"] == "tracker"
    assert refined.options["query_update"] == "plugin"
    _, _, clip = refined(*make_batch())
    assert all(len(frame.aux) == 1 for frame in clip.frames)


def test_plugins_can_associate_in_tracking():
    images = make_batch(clips=1)[0][0]
    assert build(Refiner()).eval().track(images)[1] == [0] * 5
    assert len(set(build().eval().track(images)[0])) == 5
    first_has_none = build(Recorder(), Refiner()).eval()
    assert first_has_none.track(images)[1] == [0] * 5


@pytest.mark.parametrize("plugins", [lambda: [], lambda: [Depth(), Pull()], lambda: [Depth(weight=0.3), Refiner()]])
def test_checkpointing_is_bit_identical(plugins):
    """Frames are recomputed in the backward pass, including hooks and dropout."""
    assert_same(train(build(*plugins())), train(build(*plugins(), checkpointing="plain")))


def test_reentrant_checkpointing_is_rejected():
    tracker = build(Depth(), checkpointing="reentrant")
    with pytest.raises(
        ValueError, match=r"on_features of plug-in 'depth', frame 0: called without gradient .*reentrant"
    ):
        tracker(*make_batch())


def test_all_parameters_have_gradients_during_warmup():
    """The gradient is 0 rather than None, because distributed training requires gradients of all parameters."""
    tracker = build(Depth(warmup_steps=5), RandomPlugin(weight=0))
    own, extra, _ = tracker(*make_batch())
    (sum(own.values()) + sum(extra.values())).backward()
    assert all(parameter.grad is not None for parameter in tracker.plugins.parameters())
    assert not tracker.plugins["drops"].layer.weight.grad.any()


def test_detached_outputs_are_rejected():
    class Detached(SmallTracker):
        def predict(self, *arguments):
            frame = super().predict(*arguments)
            return type(frame)(
                **{
                    **vars(frame),
                    "boxes_cxcywh": frame.boxes_cxcywh.detach(),
                    "embeddings": frame.embeddings.detach(),
                }
            )

    with pytest.raises(ValueError, match="plug-in 'pull' got assoc or boxes_cxcywh or embeddings without gradient"):
        Detached(Pull())(*make_batch())
