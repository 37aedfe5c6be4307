import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from _helpers.bare_plugins import Loss, frame, plugins_of, tracks
from mot_core.plugins import Plugin
from mot_core.structures import ClipOutput, FeaturePyramid

# --- hooks ---


class Wrong(Plugin):
    """Plug-in that returns the same value from every hook."""

    name = "wrong"

    def __init__(self, returned):
        super().__init__()
        self.returned = returned

    def on_features(self, features, ctx):
        return self.returned

    def on_decoder_layer(self, layer, hidden, ctx):
        return self.returned

    def on_embeddings(self, frame, ctx):
        return self.returned

    def on_associate(self, frame, tracks, ctx):
        return self.returned

    def on_tracks_update(self, frame, tracks, ctx):
        return self.returned

    def on_clip_loss(self, clip, ctx):
        return self.returned


@pytest.mark.parametrize(
    ("hook", "returned", "message"),
    [
        ("on_features", None, "on_features of plug-in 'wrong' must return FeaturePyramid, got NoneType"),
        ("on_decoder_layer", None, "must return Tensor, got NoneType"),
        ("on_decoder_layer", torch.ones(1, 2), r"must return shape \(1, 3, 8\), got \(1, 2\)"),
        ("on_embeddings", 3, "must return FrameOutput, got int"),
        ("on_associate", torch.ones(1, 3, 2), r"on_associate .* must return shape \(1, 2, 3\), got \(1, 3, 2\)"),
        ("on_tracks_update", torch.ones(3), r"must return TrackState, got a tensor \(3,\)"),
        ("losses", torch.ones(()), "on_clip_loss of plug-in 'wrong' must return dict, got a tensor"),
    ],
)
def test_invalid_hook_results_are_rejected(hook, returned, message):
    plugins = plugins_of(Wrong(returned))
    ctx = plugins.start_clip(training=False)
    arguments = {
        "on_features": (FeaturePyramid((), ()),),
        "on_decoder_layer": (0, torch.ones(1, 3, 8)),
        "on_embeddings": (frame(),),
        "on_associate": (frame(), tracks()),
        "on_tracks_update": (frame(), tracks()),
        "losses": (ClipOutput([frame()]),),
    }[hook]
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(plugins, hook)(*arguments, ctx)


class RecordingPlugin(Plugin):
    name = "recording"

    def on_embeddings(self, frame, ctx):
        ctx.store.setdefault("frames", []).append(ctx.frame)
        return frame

    def on_decoder_layer(self, layer, hidden, ctx):
        return hidden

    def on_tracks_update(self, frame, tracks, ctx):
        return tracks


def test_hooks_are_called_once_per_frame():
    plugins = plugins_of(RecordingPlugin())
    ctx = plugins.start_clip(training=True).at(4)
    plugins.on_embeddings(frame(), ctx)
    with pytest.raises(ValueError, match="on_embeddings of plug-in 'recording', frame 4: called twice"):
        plugins.on_embeddings(frame(), ctx)
    plugins.on_embeddings(frame(), ctx.at(5))


def test_order_of_hooks():
    plugins = plugins_of(RecordingPlugin())
    ctx = plugins.start_clip(training=True)
    for layer in range(3):
        plugins.on_decoder_layer(layer, torch.ones(1, 3, 8), ctx)
    plugins.on_tracks_update(frame(), tracks(), ctx)
    with pytest.raises(ValueError, match=r"on_embeddings .* called after on_tracks_update; the order is on_features"):
        plugins.on_embeddings(frame(), ctx)


def test_stores_are_private_and_start_empty():
    class Other(RecordingPlugin):
        name = "other"

        def on_embeddings(self, frame, ctx):
            assert not ctx.store
            return frame

    plugins = plugins_of(RecordingPlugin(), Other())
    for _ in range(2):
        ctx = plugins.start_clip(training=False)
        plugins.on_embeddings(frame(), ctx.at(0))
        plugins.on_embeddings(frame(), ctx.at(1))
        assert ctx.store["recording"]["frames"] == [0, 1]


def test_calls_without_gradient_must_be_declared():
    plugins = plugins_of(RecordingPlugin())
    ctx = plugins.start_clip(training=True)
    with torch.no_grad():
        plugins.on_embeddings(frame(), ctx.at(0, has_grad=False))
        with pytest.raises(ValueError, match=r"called without gradient in training; pass has_grad=False"):
            plugins.on_embeddings(frame(), ctx.at(1))
        plugins.on_embeddings(frame(), plugins.start_clip(training=False))


def test_checkpointed_hooks_are_rejected():
    plugins = plugins_of(RecordingPlugin())
    ctx = plugins.start_clip(training=True)
    boxes = torch.rand(1, 3, 4, requires_grad=True)

    def network(boxes):
        return plugins.on_embeddings(frame(boxes_cxcywh=boxes.sigmoid()), ctx).boxes_cxcywh.square()

    total = checkpoint(network, boxes, use_reentrant=False).sum()
    with pytest.raises(ValueError, match="on_embeddings of plug-in 'recording', frame 0: called again in backward"):
        total.backward()


# --- losses ---


def test_losses_are_weighted_and_named():
    plugins = plugins_of(Loss(weight=0.25))
    logged = {}
    ctx = plugins.start_clip(training=True, log=logged.__setitem__)
    output = frame()
    losses = plugins.losses(ClipOutput([output]), ctx)
    assert losses["some_loss/value"].item() == pytest.approx(output.boxes_cxcywh.sum().item() / 4)
    assert logged["some_loss/value"] == output.boxes_cxcywh.sum()
    assert not logged["some_loss/value"].requires_grad


def test_no_plugins():
    plugins = plugins_of()
    ctx = plugins.start_clip(training=True)
    output, state = frame(), tracks()
    assert plugins.on_embeddings(output, ctx) is output
    assert plugins.on_tracks_update(output, state, ctx) is state
    assert plugins.losses(ClipOutput([output]), ctx) == {}
    assert not plugins.state_dict()


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda clip: clip.frames[0].boxes_cxcywh, r"must be a scalar tensor, got a tensor \(1, 3, 4\)"),
        (lambda clip: 3.0, "must be a scalar tensor, got float"),
        (lambda clip: clip.frames[0].boxes_cxcywh.detach().sum(), "'some_loss/value' has no gradient"),
    ],
)
def test_invalid_losses_are_rejected(compute, message):
    plugins = plugins_of(Loss(compute))
    with pytest.raises(ValueError, match=message):
        plugins.losses(ClipOutput([frame()]), plugins.start_clip(training=True))


def test_losses_without_gradient_in_validation():
    plugins = plugins_of(Loss(lambda clip: torch.tensor(2.0)))
    with torch.no_grad():
        losses = plugins.losses(ClipOutput([frame()]), plugins.start_clip(training=False))
    assert losses["some_loss/value"] == 2


def test_names_of_losses_are_unique():
    plugins = plugins_of(Loss())
    with pytest.raises(ValueError, match="two losses are called 'some_loss/value'"):
        plugins.losses(ClipOutput([frame()]), plugins.start_clip(training=True), {"some_loss/value": 1})


@pytest.mark.parametrize(
    ("changes", "rejected"),
    [({"boxes_cxcywh": torch.rand(1, 3, 4)}, True), ({}, False), ({"has_grad": False}, True)],
)
def test_required_outputs_must_have_a_gradient(changes, rejected):
    class RequiresLiveBoxes(Loss):
        requires = ("ids", "live_boxes")

    plugins = plugins_of(RequiresLiveBoxes(lambda clip: torch.ones((), requires_grad=True)))
    clip = ClipOutput([frame(**changes)])
    if rejected:
        with pytest.raises(ValueError, match="plug-in 'some_loss' got boxes_cxcywh without gradient in training"):
            plugins.losses(clip, plugins.start_clip(training=True))
    else:
        assert plugins.losses(clip, plugins.start_clip(training=True))


def test_zero_weight_leaves_the_graph_of_the_tracker():
    """Even an infinite loss with a NaN gradient must have no effect."""
    plugin = Loss(lambda clip: (clip.frames[0].boxes_cxcywh * 0).log().sum(), weight=0)
    plugin.scale = nn.Parameter(torch.ones(2))
    plugins = plugins_of(plugin)
    output = frame()
    (loss,) = plugins.losses(ClipOutput([output]), plugins.start_clip(training=True)).values()
    assert loss == 0
    loss.backward()
    assert output.boxes_cxcywh.grad is None
    assert plugin.scale.grad.tolist() == [0, 0]
