"""Spatial, temporal and identity adapters of FDTA, for any multi-object tracker.

>>> from fdta_adapters import FDTA
>>> [plugin.name for plugin in FDTA()]
['fdta_spatial', 'fdta_temporal', 'fdta_identity']
"""

from fdta_adapters.functional import (
    DepthBins,
    IdentityOutput,
    InterObjectSimilarity,
    depth_focal,
    depth_loss,
    depth_position,
    dual_mask,
    foreground_mask,
    identity_contrastive,
    inter_object_similarity,
    pair_quality,
)
from fdta_adapters.modules import DepthState, IdentityAdapter, SpatialAdapter, TemporalAdapter, TrackHistory
from fdta_adapters.plugins import (
    FDTA,
    FDTA_RELEASED,
    IdentityAdapterPlugin,
    SpatialAdapterPlugin,
    TemporalAdapterPlugin,
)

__version__ = "0.1.0"
__all__ = [
    "FDTA",
    "FDTA_RELEASED",
    "DepthBins",
    "DepthState",
    "IdentityAdapter",
    "IdentityAdapterPlugin",
    "IdentityOutput",
    "InterObjectSimilarity",
    "SpatialAdapter",
    "SpatialAdapterPlugin",
    "TemporalAdapter",
    "TemporalAdapterPlugin",
    "TrackHistory",
    "__version__",
    "depth_focal",
    "depth_loss",
    "depth_position",
    "dual_mask",
    "foreground_mask",
    "identity_contrastive",
    "inter_object_similarity",
    "pair_quality",
]
