"""All adapters of FDTA at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from fdta_adapters.plugins.identity import IdentityAdapterPlugin
from fdta_adapters.plugins.spatial import SpatialAdapterPlugin
from fdta_adapters.plugins.temporal import TemporalAdapterPlugin
from mot_core.plugins import Plugin

FDTA_RELEASED: dict[str, dict[str, Any]] = {
    "spatial": {
        "bin_value": "left_edge",
        "convention": "depth",
        "foreground_weight": 6.0,  # DanceTrack; 7 for SportsMOT, 10 for BFT
        "normalizer": "boxes",
        "smoothing": 1e-6,
        "wrap_boxes": True,
        "residual": "postnorm",
        "mask_padding": False,
    },
    "temporal": {"position": "window", "residual": "replace"},
    "identity": {
        "start_epoch": 1,
        "quality": "giou",
        "reduction": "anchor",
        "scale_by_tau": True,
        "chunk": 10,
        "gather": False,
    },
}
"""Arguments of :class:`FDTA` that reproduce the authors' released code instead of the paper."""


class Attachable(Protocol):
    """A tracker that accepts plug-ins."""

    def attach(self, plugin: Plugin) -> None:
        """Attach a plug-in."""


class FDTA:
    """The three adapters of FDTA as plug-ins, with the settings of the paper.

    Args:
        spatial: Arguments of :class:`SpatialAdapterPlugin`. None leaves the adapter out.
        temporal: Arguments of :class:`TemporalAdapterPlugin`. None leaves the adapter out.
        identity: Arguments of :class:`IdentityAdapterPlugin`. None leaves the adapter out.

    >>> [plugin.name for plugin in FDTA(temporal=None)]
    ['fdta_spatial', 'fdta_identity']
    >>> [plugin.name for plugin in FDTA(**FDTA_RELEASED)]
    ['fdta_spatial', 'fdta_temporal', 'fdta_identity']
    """

    def __init__(
        self,
        spatial: Mapping[str, Any] | None = {},
        temporal: Mapping[str, Any] | None = {},
        identity: Mapping[str, Any] | None = {},
    ) -> None:
        self.plugins: tuple[Plugin, ...] = tuple(
            plugin(**arguments)
            for plugin, arguments in (
                (SpatialAdapterPlugin, spatial),
                (TemporalAdapterPlugin, temporal),
                (IdentityAdapterPlugin, identity),
            )
            if arguments is not None
        )

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self.plugins)

    def attach(self, tracker: Attachable) -> None:
        """Attach all adapters to a tracker, before its training starts."""
        for plugin in self:
            tracker.attach(plugin)
