"""All trainable trackers in a small size, synthetic data and recorded losses; extend for new trackers."""

import lightning
import torch

from _helpers.trackers import toy_tracker
from _helpers.trackers.grid_tracker import GridTracker
from _helpers.trackers.toy_tracker import SMALL
from lamotr.lightning import LAMOTR
from mot_core.data import SyntheticDataModule
from mot_core.trackers import (
    GTR,
    MOTE,
    MOTIP,
    MOTR,
    AssociationSettings,
    CenterNetSettings,
    DETRTracker,
    FairMOT,
    FairMOTSettings,
    MeMOTR,
    OptimizerSettings,
    TrackFormer,
    YOLOXByteTrack,
    YOLOXSettings,
)

RATES = OptimizerSettings(lr=1e-3, milestones=(1,), warmup_epochs=0.5)
TINY_YOLOX = YOLOXSettings("micro", embed_dim=8, norm="group")
TINY_CENTERNET = CenterNetSettings("micro", channels=16, norm="group", extra_levels=0, head_depth=1)
TINY_ASSOCIATION = AssociationSettings(embed_dim=16, pool_size=3, num_heads=2)
TINY_FAIRMOT = FairMOTSettings("micro", embed_dim=8, hidden=16, deformable=False, norm="group")
TRACKERS = {
    "motip": lambda **options: MOTIP(
        **({"detector": SMALL, "optimizer": RATES, "num_words": 6, "id_layers": 1, "groups": 2, "gradient_frames": 2,
            "min_area": 4} | options)
    ),
    "mote": lambda **options: MOTE(
        **({"detector": SMALL, "optimizer": RATES, "min_area": 4, "flow": "lucas_kanade"} | options)
    ),
    "motr": lambda **options: MOTR(**({"detector": SMALL, "optimizer": RATES, "min_area": 4} | options)),
    # Untrained scores are about 0.01; half of the slots update their queries.
    "memotr": lambda **options: MeMOTR(
        **({"detector": SMALL, "optimizer": RATES, "min_area": 4, "update_threshold": 0.01} | options)
    ),
    # Boxes of an untrained tracker hardly overlap the objects: these rules carry them nevertheless.
    "lamotr": lambda **options: LAMOTR(
        **({"detector": SMALL, "optimizer": RATES, "min_area": 4, "exclude": "none", "demote": False} | options)
    ),
    "trackformer": lambda **options: TrackFormer(  # plug-ins can learn from its tracks
        **({"detector": SMALL, "optimizer": RATES, "backprop_previous": True} | options)
    ),
    "yolox_bytetrack": lambda **options: YOLOXByteTrack(
        **({"detector": TINY_YOLOX, "optimizer": RATES, "min_area": 4} | options)
    ),
    "fairmot": lambda **options: FairMOT(
        **({"detector": TINY_FAIRMOT, "optimizer": RATES, "min_area": 4} | options)
    ),
    "gtr": lambda **options: GTR(
        **({"detector": TINY_CENTERNET, "association": TINY_ASSOCIATION, "optimizer": RATES, "min_area": 4} | options)
    ),
    "grid": lambda **options: GridTracker(**({"optimizer": RATES} | options)),
}  # fmt: skip

EAGER = {
    "motip": {"detection_threshold": 0.005, "newborn_threshold": 0.005},
    "mote": {"birth_threshold": 0.005, "keep_threshold": 0.005, "report_threshold": 0.005},
    "motr": {"birth_threshold": 0.005, "keep_threshold": 0.005, "report_threshold": 0.005},
    "memotr": {
        "birth_threshold": 0.005,
        "keep_threshold": 0.005,
        "report_threshold": 0.005,
        "update_threshold": 0.005,
    },
    "lamotr": {"detection_threshold": 0.005, "track_threshold": 0.005},
    "trackformer": {"birth_threshold": 0.005, "keep_threshold": 0.005, "report_threshold": 0.005},
    "yolox_bytetrack": {
        "score_threshold": 0, "low_threshold": 0, "track_threshold": 0, "birth_threshold": 0, "max_cost": 1.0,
    },
    "fairmot": {"score_threshold": 0, "track_threshold": 0, "birth_threshold": 0},
    "gtr": {"score_threshold": 0},
    "grid": {"threshold": 0.3},
}  # fmt: skip
"""Thresholds with which an untrained tracker reports tracks."""

DETR_TRACKERS = [name for name, build in TRACKERS.items() if isinstance(build(), DETRTracker)]
SHIPPED_TRACKERS = [name for name in TRACKERS if name != "grid"]


def make(name, *plugins, seed=0, **options):
    """Build a tracker with plug-ins; its weights depend on the seed only."""
    torch.manual_seed(seed)
    tracker = TRACKERS[name](**options)
    for plugin in plugins:
        tracker.attach(plugin)
    return tracker


def synthetic(**arguments):
    """Return three batches of two clips of three frames per epoch, and two validation videos."""
    options = {
        "num_videos": 6, "num_val_videos": 2, "num_frames": 6, "image_size": (32, 48), "num_objects": (2, 4),
        "clip_length": 3, "max_interval": 2, "stride": 6, "batch_size": 2, "with_depth": True,
    }  # fmt: skip
    return SyntheticDataModule(**(options | arguments))


def batches(**arguments):
    return list(synthetic(**arguments).train_dataloader())


class Losses(lightning.Callback):
    """Callback that records the loss of every step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.values.append(outputs["loss"].item())


def trainer(folder, *callbacks, **options):
    defaults = {"max_epochs": 2, "gradient_clip_val": 0.1}
    return toy_tracker.trainer(folder, **(defaults | options), callbacks=list(callbacks))
