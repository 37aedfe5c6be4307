"""The adapters as modules, for any model."""

from fdta_adapters.modules.history import TrackHistory as TrackHistory
from fdta_adapters.modules.identity import IdentityAdapter as IdentityAdapter
from fdta_adapters.modules.spatial import DepthState as DepthState
from fdta_adapters.modules.spatial import SpatialAdapter as SpatialAdapter
from fdta_adapters.modules.temporal import TemporalAdapter as TemporalAdapter
