import importlib.metadata
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mot_core.plugins import CAPABILITIES, OPTIONS, Plugin, Plugins
from mot_core.structures import ClipOutput, FeaturePyramid, FrameOutput, TrackerSpec, TrackState


class Loss(Plugin):
    """A loss that is given as a function of the clip."""

    name = "some_loss"

    def __init__(self, compute=lambda clip: clip.frames[0].boxes_cxcywh.sum(), **options):
        super().__init__(**options)
        self.compute = compute

    def on_clip_loss(self, clip, ctx):
        return {"value": self.compute(clip)}


def frame(slots=3, **changes):
    boxes = torch.rand(1, slots, 4, requires_grad=True)
    valid = torch.ones(1, slots, dtype=torch.bool)
    output = FrameOutput(boxes, torch.zeros(1, slots, 1), valid, torch.ones(1, 2), torch.tensor([1]))
    return replace(output, **changes)


def tracks(count=2):
    ids = torch.arange(count)[None]
    return TrackState(ids, ids >= 0)


def plugins_of(*plugins, spec=None):
    made = Plugins(*plugins)
    made.setup(spec or TrackerSpec("mine", frozenset(CAPABILITIES)))
    return made


# --- attaching and setting up ---


@pytest.mark.parametrize(
    ("plugin", "error", "message"),
    [
        (nn.Linear(1, 1), TypeError, "derived from mot_core.plugins.Plugin, got Linear"),
        (Plugin(), ValueError, "Plugin: its attribute name must be a word such as 'my_loss', got ''"),
        (type("Dotted", (Plugin,), {"name": "a.b"})(), ValueError, "must be a word .* got 'a.b'"),
        (type("Items", (Plugin,), {"name": "items"})(), ValueError, "must be a word .* got 'items'"),
        (Loss(), ValueError, "two plug-ins are called 'some_loss'"),
    ],
)
def test_what_cannot_be_attached(plugin, error, message):
    with pytest.raises(error, match=message):
        Plugins(Loss()).attach(plugin)


def test_the_same_plugin_again_is_no_other():
    plugin = Loss()
    plugins = plugins_of(plugin)
    plugins.attach(plugin)  # Lightning: fit, then test
    assert plugins.setup(plugins.spec) == plugins.options
    assert len(plugins) == 1


def test_attaching_too_late():
    with pytest.raises(ValueError, match="plug-in 'some_loss' comes too late"):
        plugins_of().attach(Loss())


def test_a_clip_before_setup():
    with pytest.raises(ValueError, match="not set up"):
        Plugins(Loss()).start_clip(training=True)


@pytest.mark.parametrize(("weight", "steps"), [(-1, 0), (float("nan"), 0), (float("inf"), 0), (1, -1)])
def test_bad_weights(weight, steps):
    with pytest.raises(ValueError, match="must be"):
        Plugin(weight=weight, warmup_steps=steps)


class NeedsMuch(Plugin):
    name = "needs_much"
    requires = ("ids", {"live_boxes", "embeddings"})


@pytest.mark.parametrize("capabilities", [{"ids", "embeddings"}, {"ids", "live_boxes"}, set(CAPABILITIES)])
def test_one_of_a_group_is_enough(capabilities):
    plugins_of(NeedsMuch(), spec=TrackerSpec("mine", frozenset(capabilities)))


class FakePoint:
    def __init__(self, name, found):
        self.name, self.found = name, found

    def load(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_a_missing_capability_lists_the_trackers_that_have_it(monkeypatch):
    points = [
        FakePoint("fine", type("Fine", (), {"capabilities": frozenset({"embeddings"})})),
        FakePoint("broken", ImportError("no lightning")),
        FakePoint("plain", type("PlainTracker", (), {})),
        FakePoint("other", type("Other", (), {"capabilities": frozenset({"features"})})),
    ]
    monkeypatch.setattr("mot_core.plugins.negotiation.entry_points", lambda group: points)
    with pytest.raises(ValueError, match="needs a tracker that gives an embedding") as caught:
        plugins_of(NeedsMuch(), spec=TrackerSpec("bare", frozenset({"ids"})))
    assert "('embeddings') or gives boxes with gradient ('live_boxes'), and 'bare' does not" in str(caught.value)
    assert str(caught.value).endswith("installed trackers that do: fine")


def test_installed_trackers_are_asked_by_entry_point():
    from mot_core.plugins.negotiation import trackers_with

    names = {point.name for point in importlib.metadata.entry_points(group="mot_core.trackers")}
    assert set(trackers_with(CAPABILITIES)) <= names
    assert not {"sort", "bytetrack"} & set(trackers_with(CAPABILITIES))


def test_unknown_capabilities_are_told_with_a_guess():
    plugin = type("Typo", (Plugin,), {"name": "typo", "requires": ("embedings",)})()
    with pytest.raises(ValueError, match="plug-in 'typo': unknown capability 'embedings'; did you mean 'embeddings'"):
        plugins_of(plugin)
    with pytest.raises(ValueError, match="tracker 'mine': unknown capability 'xyz'; there are: features"):
        plugins_of(NeedsMuch(), spec=TrackerSpec("mine", frozenset({"xyz", "ids"})))


def asking(plugin_name, **options):
    return type("Asking", (Plugin,), {"name": plugin_name, "setup": lambda self, spec: options})()


def test_options_default_to_the_tracker():
    assert plugins_of().options == {name: values[0] for name, values in OPTIONS.items()}


@pytest.mark.parametrize(
    ("accepts", "capabilities", "refused"),
    [
        ({}, {"track_queries"}, True),
        ({"birth": frozenset({"plugin"})}, {"track_queries"}, False),
        ({}, set(), False),  # nothing to be done differently
    ],
)
def test_a_tracker_serves_an_option_or_refuses(accepts, capabilities, refused):
    spec = TrackerSpec("mine", frozenset(capabilities), accepts=accepts)
    if refused:
        with pytest.raises(ValueError, match="'a' asks for birth='plugin'; tracker 'mine' can serve: tracker"):
            plugins_of(asking("a", birth="plugin"), spec=spec)
    else:
        assert plugins_of(asking("a", birth="plugin"), spec=spec).options["birth"] == "plugin"


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ([asking("a", colour="red")], "asks for colour='red', which there is not; known: object_supervision in"),
        ([asking("a", birth="me")], "asks for birth='me', which there is not"),
        ([asking("a", birth="plugin"), asking("b", birth="tracker")], "'a' and 'b' ask for birth='plugin' and 'track"),
    ],
)
def test_options_that_cannot_be(plugins, message):
    with pytest.raises(ValueError, match=message):
        plugins_of(*plugins, spec=TrackerSpec("mine"))


def test_a_head_of_the_tracker_stays_with_the_tracker():
    def keep_head(self, spec):
        self.head = spec.box_head
        return {}

    thief = type("Thief", (Plugin,), {"name": "thief", "setup": keep_head})()
    with pytest.raises(ValueError, match="plug-in 'thief' keeps a head of the tracker"):
        plugins_of(thief, spec=TrackerSpec("mine", box_head=nn.Linear(2, 4)))


def test_setup_draws_no_random_numbers_of_the_tracker():
    def build(self, spec):
        self.layer = nn.Linear(3, 3)
        return {}

    made = []
    for noise in (0, 5):
        torch.manual_seed(4)
        torch.rand(noise)
        before = torch.get_rng_state()
        plugins = plugins_of(type("Builds", (Plugin,), {"name": "builds", "setup": build})())
        assert torch.equal(torch.get_rng_state(), before)
        made.append(plugins["builds"].layer.weight)
    assert torch.equal(*made), "the weights depend on the seed, not on what was drawn before"


# --- hooks ---


class Wrong(Plugin):
    """Returns the same thing from every hook."""

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
def test_what_a_hook_must_return(hook, returned, message):
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


class Watches(Plugin):
    name = "watches"

    def on_embeddings(self, frame, ctx):
        ctx.store.setdefault("frames", []).append(ctx.frame)
        return frame

    def on_decoder_layer(self, layer, hidden, ctx):
        return hidden

    def on_tracks_update(self, frame, tracks, ctx):
        return tracks


def test_a_hook_fires_once_per_frame():
    plugins = plugins_of(Watches())
    ctx = plugins.start_clip(training=True).at(4)
    plugins.on_embeddings(frame(), ctx)
    with pytest.raises(ValueError, match="on_embeddings of plug-in 'watches', frame 4, fired twice"):
        plugins.on_embeddings(frame(), ctx)
    plugins.on_embeddings(frame(), ctx.at(5))


def test_hooks_keep_their_order():
    plugins = plugins_of(Watches())
    ctx = plugins.start_clip(training=True)
    for layer in range(3):
        plugins.on_decoder_layer(layer, torch.ones(1, 3, 8), ctx)
    plugins.on_tracks_update(frame(), tracks(), ctx)
    with pytest.raises(ValueError, match=r"on_embeddings .* fired after on_tracks_update; the order is on_features"):
        plugins.on_embeddings(frame(), ctx)


def test_stores_are_private_and_start_empty():
    class Other(Watches):
        name = "other"

        def on_embeddings(self, frame, ctx):
            assert not ctx.store
            return frame

    plugins = plugins_of(Watches(), Other())
    for _ in range(2):
        ctx = plugins.start_clip(training=False)
        plugins.on_embeddings(frame(), ctx.at(0))
        plugins.on_embeddings(frame(), ctx.at(1))
        assert ctx.store["watches"]["frames"] == [0, 1]


def test_without_gradient_only_where_the_tracker_says_so():
    plugins = plugins_of(Watches())
    ctx = plugins.start_clip(training=True)
    with torch.no_grad():
        plugins.on_embeddings(frame(), ctx.at(0, has_grad=False))
        with pytest.raises(ValueError, match=r"fired without gradient in training: .* say so with has_grad=False"):
            plugins.on_embeddings(frame(), ctx.at(1))
        plugins.on_embeddings(frame(), plugins.start_clip(training=False))


def test_a_hook_with_memory_must_not_be_checkpointed():
    plugins = plugins_of(Watches())
    ctx = plugins.start_clip(training=True)
    boxes = torch.rand(1, 3, 4, requires_grad=True)

    def network(boxes):
        return plugins.on_embeddings(frame(boxes_cxcywh=boxes.sigmoid()), ctx).boxes_cxcywh.square()

    total = checkpoint(network, boxes, use_reentrant=False).sum()
    with pytest.raises(ValueError, match="on_embeddings of plug-in 'watches', frame 0, fired again in backward"):
        total.backward()


# --- losses ---


def test_losses_carry_their_weight_and_their_name():
    plugins = plugins_of(Loss(weight=0.25))
    logged = {}
    ctx = plugins.start_clip(training=True, log=logged.__setitem__)
    output = frame()
    losses = plugins.losses(ClipOutput([output]), ctx)
    assert losses["some_loss/value"].item() == pytest.approx(output.boxes_cxcywh.sum().item() / 4)
    assert logged["some_loss/value"] == output.boxes_cxcywh.sum()
    assert not logged["some_loss/value"].requires_grad


def test_no_plugins_no_losses():
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
        (lambda clip: clip.frames[0].boxes_cxcywh, r"must be a tensor with one number, got a tensor \(1, 3, 4\)"),
        (lambda clip: 3.0, "must be a tensor with one number, got float"),
        (lambda clip: clip.frames[0].boxes_cxcywh.detach().sum(), "'some_loss/value' has no gradient"),
    ],
)
def test_bad_losses(compute, message):
    plugins = plugins_of(Loss(compute))
    with pytest.raises(ValueError, match=message):
        plugins.losses(ClipOutput([frame()]), plugins.start_clip(training=True))


def test_a_loss_without_gradient_is_fine_in_validation():
    plugins = plugins_of(Loss(lambda clip: torch.tensor(2.0)))
    with torch.no_grad():
        losses = plugins.losses(ClipOutput([frame()]), plugins.start_clip(training=False))
    assert losses["some_loss/value"] == 2


def test_names_of_losses_are_unique():
    plugins = plugins_of(Loss())
    with pytest.raises(ValueError, match="two losses are called 'some_loss/value'"):
        plugins.losses(ClipOutput([frame()]), plugins.start_clip(training=True), {"some_loss/value": 1})


@pytest.mark.parametrize(
    ("changes", "refused"),
    [({"boxes_cxcywh": torch.rand(1, 3, 4)}, True), ({}, False), ({"has_grad": False}, True)],
)
def test_what_a_loss_requires_must_be_live(changes, refused):
    class Needy(Loss):
        requires = ("ids", "live_boxes")

    plugins = plugins_of(Needy(lambda clip: torch.ones((), requires_grad=True)))
    clip = ClipOutput([frame(**changes)])
    if refused:
        with pytest.raises(ValueError, match="plug-in 'some_loss' got boxes_cxcywh without gradient in training"):
            plugins.losses(clip, plugins.start_clip(training=True))
    else:
        assert plugins.losses(clip, plugins.start_clip(training=True))


def test_no_weight_means_no_part_in_the_graph_of_the_tracker():
    """Not even where the loss is infinite and its gradient is not a number."""
    plugin = Loss(lambda clip: (clip.frames[0].boxes_cxcywh * 0).log().sum(), weight=0)
    plugin.scale = nn.Parameter(torch.ones(2))
    plugins = plugins_of(plugin)
    output = frame()
    (loss,) = plugins.losses(ClipOutput([output]), plugins.start_clip(training=True)).values()
    assert loss == 0
    loss.backward()
    assert output.boxes_cxcywh.grad is None
    assert plugin.scale.grad.tolist() == [0, 0]
