"""The adapters as plug-ins, for trackers of mot-core and others through ``mot_core.tap``."""

from fdta_adapters.plugins.identity import IdentityAdapterPlugin as IdentityAdapterPlugin
from fdta_adapters.plugins.preset import FDTA as FDTA
from fdta_adapters.plugins.preset import FDTA_RELEASED as FDTA_RELEASED
from fdta_adapters.plugins.spatial import SpatialAdapterPlugin as SpatialAdapterPlugin
from fdta_adapters.plugins.temporal import TemporalAdapterPlugin as TemporalAdapterPlugin
