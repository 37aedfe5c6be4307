import importlib.metadata

import pytest
import torch
from torch import nn

from _helpers.bare_plugins import Loss, plugins_of
from mot_core.plugins import CAPABILITIES, OPTIONS, Plugin, Plugins
from mot_core.structures import TrackerSpec


@pytest.mark.parametrize(
    ("plugin", "error", "message"),
    [
        (nn.Linear(1, 1), TypeError, "expected a mot_core.plugins.Plugin, got Linear"),
        (Plugin(), ValueError, "Plugin: attribute name: expected an identifier such as 'my_loss', got ''"),
        (type("Dotted", (Plugin,), {"name": "a.b"})(), ValueError, "expected an identifier .* got 'a.b'"),
        (type("Items", (Plugin,), {"name": "items"})(), ValueError, "expected an identifier .* got 'items'"),
        (Loss(), ValueError, "two plug-ins are called 'some_loss'"),
    ],
)
def test_invalid_plugins_are_rejected(plugin, error, message):
    with pytest.raises(error, match=message):
        Plugins(Loss()).attach(plugin)


def test_attaching_a_plugin_twice():
    plugin = Loss()
    plugins = plugins_of(plugin)
    plugins.attach(plugin)  # as Lightning does for fit followed by test
    assert plugins.setup(plugins.spec) == plugins.options
    assert len(plugins) == 1


def test_attaching_after_setup_is_rejected():
    with pytest.raises(ValueError, match="plug-in 'some_loss' must be attached before"):
        plugins_of().attach(Loss())


def test_clip_before_setup_is_rejected():
    with pytest.raises(ValueError, match="not set up"):
        Plugins(Loss()).start_clip(training=True)


@pytest.mark.parametrize(("weight", "steps"), [(-1, 0), (float("nan"), 0), (float("inf"), 0), (1, -1)])
def test_invalid_weights_are_rejected(weight, steps):
    with pytest.raises(ValueError, match="must be"):
        Plugin(weight=weight, warmup_steps=steps)


class RequiresGroup(Plugin):
    name = "needs_much"
    requires = ("ids", {"live_boxes", "embeddings"})


@pytest.mark.parametrize("capabilities", [{"ids", "embeddings"}, {"ids", "live_boxes"}, set(CAPABILITIES)])
def test_one_capability_of_a_group_suffices(capabilities):
    plugins_of(RequiresGroup(), spec=TrackerSpec("mine", frozenset(capabilities)))


class FakePoint:
    def __init__(self, name, found):
        self.name, self.found = name, found

    def load(self):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_missing_capability_error_lists_trackers(monkeypatch):
    points = [
        FakePoint("fine", type("Fine", (), {"capabilities": frozenset({"embeddings"})})),
        FakePoint("broken", ImportError("no lightning")),
        FakePoint("plain", type("PlainTracker", (), {})),
        FakePoint("other", type("Other", (), {"capabilities": frozenset({"features"})})),
    ]
    monkeypatch.setattr("mot_core.plugins.negotiation.entry_points", lambda group: points)
    with pytest.raises(ValueError, match="needs a tracker that provides an embedding") as caught:
        plugins_of(RequiresGroup(), spec=TrackerSpec("bare", frozenset({"ids"})))
    assert "('embeddings') or provides boxes with gradient ('live_boxes'), and 'bare' does not" in str(caught.value)
    assert str(caught.value).endswith("installed trackers that do: fine")


def test_trackers_with_capabilities_by_entry_point():
    from mot_core.plugins.negotiation import trackers_with

    names = {point.name for point in importlib.metadata.entry_points(group="mot_core.trackers")}
    assert set(trackers_with(CAPABILITIES)) <= names
    assert not {"sort", "bytetrack"} & set(trackers_with(CAPABILITIES))


def test_unknown_capabilities_get_a_suggestion():
    plugin = type("Typo", (Plugin,), {"name": "typo", "requires": ("embedings",)})()
    with pytest.raises(ValueError, match="plug-in 'typo': unknown capability 'embedings'; did you mean embeddings"):
        plugins_of(plugin)
    with pytest.raises(ValueError, match="tracker 'mine': unknown capability 'xyz'; capabilities: features"):
        plugins_of(RequiresGroup(), spec=TrackerSpec("mine", frozenset({"xyz", "ids"})))


def requesting(plugin_name, **options):
    return type("Requesting", (Plugin,), {"name": plugin_name, "setup": lambda self, spec: options})()


def test_options_default_to_the_tracker():
    assert plugins_of().options == {name: values[0] for name, values in OPTIONS.items()}


@pytest.mark.parametrize(
    ("accepts", "capabilities", "rejected"),
    [
        ({}, {"track_queries"}, True),
        ({"birth": frozenset({"plugin"})}, {"track_queries"}, False),
        ({}, set(), False),  # the option does not apply
    ],
)
def test_supported_and_unsupported_options(accepts, capabilities, rejected):
    spec = TrackerSpec("mine", frozenset(capabilities), accepts=accepts)
    if rejected:
        with pytest.raises(ValueError, match="'a' requests birth='plugin'; tracker 'mine' supports: tracker"):
            plugins_of(requesting("a", birth="plugin"), spec=spec)
    else:
        assert plugins_of(requesting("a", birth="plugin"), spec=spec).options["birth"] == "plugin"


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        (
            [requesting("a", color="red")],
            "requests color='red', which is unknown; known options are: object",
        ),
        ([requesting("a", birth="me")], "requests birth='me', which is unknown"),
        (
            [requesting("a", birth="plugin"), requesting("b", birth="tracker")],
            "'a' and 'b' request birth='plugin' and 'track",
        ),
    ],
)
def test_invalid_options_are_rejected(plugins, message):
    with pytest.raises(ValueError, match=message):
        plugins_of(*plugins, spec=TrackerSpec("mine"))


def test_storing_a_head_of_the_tracker_is_rejected():
    def keep_head(self, spec):
        self.head = spec.box_head
        return {}

    thief = type("Thief", (Plugin,), {"name": "thief", "setup": keep_head})()
    with pytest.raises(ValueError, match="plug-in 'thief' stores a head of the tracker"):
        plugins_of(thief, spec=TrackerSpec("mine", box_head=nn.Linear(2, 4)))


def test_setup_keeps_the_random_state():
    def build(self, spec):
        self.layer = nn.Linear(3, 3)
        return {}

    made = []
    for noise in (0, 5):
        torch.manual_seed(4)
        torch.rand(noise)
        before = torch.get_rng_state()
        plugins = plugins_of(type("LayerPlugin", (Plugin,), {"name": "layer", "setup": build})())
        assert torch.equal(torch.get_rng_state(), before)
        made.append(plugins["layer"].layer.weight)
    assert torch.equal(*made), "weights must depend on the seed only, not on earlier draws"
