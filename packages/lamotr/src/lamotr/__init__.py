"""Learnable association (SGLA) of LA-MOTR, for any multi-object tracker.

>>> from lamotr import SGLA
>>> f"{sum(parameter.numel() for parameter in SGLA().parameters()):,}"
'3,247,649'
"""

from lamotr.association import SlotAssociation
from lamotr.cost.model import BoxAssociation, load_cost, save_cost
from lamotr.cost.recording import RecordedAssociation, record_associations
from lamotr.cost.tracker_cost import LAMOTRCost
from lamotr.cost.training import CostTraining, learn_cost
from lamotr.functional import (
    DecoupledFrame,
    LossSettings,
    association_loss,
    association_targets,
    carried_ids,
    decoupled_loss,
    frame_association_loss,
    handcrafted_scores,
    match_by_id,
    match_detections,
    relative_boxes,
    valid_pairs,
    weighted_update,
)
from lamotr.modules import (
    SGLA,
    AssociationHead,
    RelativeBoxEncoding,
    SGLAOutput,
    SGLASettings,
    SpatialWeightedAttention,
)
from lamotr.plugin import LAMOTRPlugin
from lamotr.presets import LAMOTRSettings, paper, paper_literal, tiny
from lamotr.tracking import (
    AssociationFrame,
    AssociationRules,
    ReportedTracks,
    Tracklets,
    find_births,
    match_tracklets,
    track_associations,
)

__version__ = "0.1.0"
__all__ = [
    "SGLA",
    "AssociationFrame",
    "AssociationHead",
    "AssociationRules",
    "BoxAssociation",
    "CostTraining",
    "DecoupledFrame",
    "LAMOTRCost",
    "LAMOTRPlugin",
    "LAMOTRSettings",
    "LossSettings",
    "RecordedAssociation",
    "RelativeBoxEncoding",
    "ReportedTracks",
    "SGLAOutput",
    "SGLASettings",
    "SlotAssociation",
    "SpatialWeightedAttention",
    "Tracklets",
    "__version__",
    "association_loss",
    "association_targets",
    "carried_ids",
    "decoupled_loss",
    "find_births",
    "frame_association_loss",
    "handcrafted_scores",
    "learn_cost",
    "load_cost",
    "match_by_id",
    "match_detections",
    "match_tracklets",
    "paper",
    "paper_literal",
    "record_associations",
    "relative_boxes",
    "save_cost",
    "tiny",
    "track_associations",
    "valid_pairs",
    "weighted_update",
]
