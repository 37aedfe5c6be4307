"""All installed plug-ins, with arguments that give a nonzero loss in short training runs; extend for new plug-ins."""

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import EMKalmanPlugin
from em_kalman.lightning import EMKalmanCallback
from fdta_adapters import IdentityAdapterPlugin, SpatialAdapterPlugin, TemporalAdapterPlugin
from fdta_adapters.lightning import IdentityAdapterCallback, SpatialAdapterCallback, TemporalAdapterCallback
from lamotr import LAMOTRPlugin
from lamotr.lightning import LAMOTRCallback
from unitrack_loss import UniTrackPlugin
from unitrack_loss.lightning import UniTrackCallback

ALWAYS = {"weight": 0.5, "warmup_steps": 0, "min_score": 0.0}
SPATIAL = {"weight": 0.5, "warmup_steps": 0, "num_bins": 12}
TEMPORAL = {"weight": 0.5, "warmup_steps": 0, "layers": 2}
IDENTITY = {"weight": 0.5, "warmup_steps": 0, "start_epoch": 0, "min_quality": 0.0, "weighting": "none"}
# Boxes of an untrained tracker hardly overlap the objects: these rules carry them nevertheless.
LAMOTR = {
    "weight": 0.5, "warmup_steps": 0, "exclude": "none", "demote": False,
    "sgla": {"num_heads": 2, "num_layers": 2, "ffn_dim": 16},
}  # fmt: skip
PLUGINS = {
    "unitrack": lambda **options: UniTrackPlugin(**(ALWAYS | {"report_every": 1} | options)),
    "em_kalman": lambda **options: EMKalmanPlugin(**(ALWAYS | {"model": make_distance_model()} | options)),
    "fdta_spatial": lambda **options: SpatialAdapterPlugin(**(SPATIAL | options)),
    "fdta_temporal": lambda **options: TemporalAdapterPlugin(**(TEMPORAL | options)),
    "fdta_identity": lambda **options: IdentityAdapterPlugin(**(IDENTITY | options)),
    "lamotr": lambda **options: LAMOTRPlugin(**(LAMOTR | options)),
}
CALLBACKS = {
    "unitrack": lambda **options: UniTrackCallback(**(ALWAYS | {"report_every": 1} | options)),
    "em_kalman": lambda **options: EMKalmanCallback(**(ALWAYS | {"model": make_distance_model()} | options)),
    "fdta_spatial": lambda **options: SpatialAdapterCallback(**(SPATIAL | options)),
    "fdta_temporal": lambda **options: TemporalAdapterCallback(**(TEMPORAL | options)),
    "fdta_identity": lambda **options: IdentityAdapterCallback(**(IDENTITY | options)),
    "lamotr": lambda **options: LAMOTRCallback(**(LAMOTR | options)),
}
ADAPTERS = {"fdta_spatial", "fdta_temporal"}
"""Plug-ins that act on the predictions; the tracker learns from its own losses, not from those of the plug-in."""
UNFIT = {("lamotr", "lamotr")}
"""Pairs of tracker and plug-in that exclude each other although the capabilities fit."""
