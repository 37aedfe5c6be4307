"""Capabilities of trackers, requirements of plug-ins, and the check that they fit before training starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from mot_core.structures import ClipOutput, TrackerSpec
from mot_core.suggestions import suggest_name

if TYPE_CHECKING:
    from mot_core.plugins.plugin import Plugin

CAPABILITIES = {
    "features": "calls on_features with the feature maps",
    "decoder_layer": "calls on_decoder_layer in every decoder layer",
    "embeddings": "provides an embedding per slot, with gradient",
    "live_boxes": "provides boxes with gradient",
    "assoc": "provides association logits between consecutive frames, with gradient",
    "ids": "is trained with identities",
    "history": "associates with a window of earlier embeddings of each track, which plug-ins can replace",
    "track_queries": "carries tracks into the next frame as queries",
    "box_head": "shares the box head of its last layer",
}
"""Capabilities of trackers and their meaning."""

OPTIONS = {
    "object_supervision": ("untracked", "all"),
    "query_update": ("tracker", "plugin"),
    "keep_rule": ("tracker", "plugin"),
    "birth": ("tracker", "plugin"),
}
"""Options that a plug-in can request from a tracker with track queries; the first value is the default.

``object_supervision``: which objects the detection slots are matched to, those without a track or all (then an object
may be assigned to a detection *and* a track). ``query_update``, ``keep_rule``, ``birth``: whether the tracker or
``on_tracks_update`` of the plug-in forms the next queries, decides which tracks stay, and which are born in tracking.
"""

# Fields that must carry gradient if a plug-in with a loss requires the capability.
LIVE = {"live_boxes": "boxes_cxcywh", "embeddings": "embeddings", "assoc": "assoc"}


def check_capabilities(plugin: Plugin, spec: TrackerSpec) -> None:
    """Reject a plug-in that needs a capability the tracker lacks, and name the trackers that have it."""
    for group in groups(plugin):
        for name in sorted(group | spec.capabilities):
            if name not in CAPABILITIES:
                hint = suggest_name(name, CAPABILITIES, "capabilities")
                whose = f"plug-in {plugin.name!r}" if name in group else f"tracker {spec.name!r}"
                raise ValueError(f"{whose}: unknown capability {name!r}; {hint}")
        if not group & spec.capabilities:
            others = trackers_with(group)
            raise ValueError(
                f"plug-in {plugin.name!r} needs a tracker that {' or '.join(_meaning(group))}, and {spec.name!r} does "
                f"not; installed trackers that do: {', '.join(others) or 'none'}"
            )


def groups(plugin: Plugin | type[Plugin]) -> list[frozenset[str]]:
    """Return the requirements of a plug-in, each a set of capabilities of which one is enough."""
    return [frozenset([one] if isinstance(one, str) else one) for one in plugin.requires]


def _meaning(group: Collection[str]) -> list[str]:
    return [f"{CAPABILITIES[name]} ({name!r})" for name in CAPABILITIES if name in group]


def trackers_with(group: Collection[str]) -> list[str]:
    """Return the installed trackers whose attribute ``capabilities`` contains a member of ``group``."""
    found = []
    for point in entry_points(group="mot_core.trackers"):
        try:
            capabilities = getattr(point.load(), "capabilities", ())
        except Exception:  # noqa: S112 a tracker that cannot be loaded is of no help here
            continue
        if set(group) & set(capabilities):
            found.append(point.name)
    return sorted(found)


def negotiate(requests: Mapping[str, Mapping[str, str]], spec: TrackerSpec) -> dict[str, str]:
    """Combine the options that plug-ins request, by plug-in name, and check that the tracker supports them.

    >>> negotiate({"lamotr": {"object_supervision": "all"}}, TrackerSpec("motip"))["object_supervision"]
    'all'
    """
    options = {name: values[0] for name, values in OPTIONS.items()}
    asked: dict[str, str] = {}
    for plugin, wanted in requests.items():
        for option, value in wanted.items():
            if value not in OPTIONS.get(option, ()):
                known = ", ".join(f"{name} in {values}" for name, values in OPTIONS.items())
                raise ValueError(
                    f"plug-in {plugin!r} requests {option}={value!r}, which is unknown; known options are: {known}"
                )
            if option in asked and options[option] != value:
                raise ValueError(
                    f"plug-ins {asked[option]!r} and {plugin!r} request {option}={options[option]!r} and {value!r}; "
                    "use only one of them"
                )
            # A tracker without track queries has nothing to do differently.
            served = {OPTIONS[option][0], *spec.accepts.get(option, ())}
            if "track_queries" in spec.capabilities and value not in served:
                raise ValueError(
                    f"plug-in {plugin!r} requests {option}={value!r}; tracker {spec.name!r} supports: "
                    f"{', '.join(sorted(served))}"
                )
            options[option], asked[option] = value, plugin
    return options


def check_gradient(plugin: Plugin, clip: ClipOutput) -> None:
    """Reject tensors without gradient, on which a loss would train nothing."""
    frames = [frame for frame in clip.frames if frame.has_grad]
    for group in groups(plugin):
        if not group <= LIVE.keys():
            continue
        tensors = [getattr(frame, LIVE[name]) for frame in frames for name in group]
        if not any(tensor is not None and tensor.requires_grad for tensor in tensors):
            names = " or ".join(sorted(LIVE[name] for name in group))
            raise ValueError(
                f"plug-in {plugin.name!r} got {names} without gradient in training, so its loss would train nothing; "
                "do not detach them, and do not run the tracker under torch.no_grad() or in a re-entrant checkpoint "
                "(set use_reentrant=False)"
            )
