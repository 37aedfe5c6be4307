"""The mathematics of LA-MOTR as functions of tensors."""

from lamotr.functional.handcrafted import handcrafted_scores as handcrafted_scores
from lamotr.functional.losses import DecoupledFrame as DecoupledFrame
from lamotr.functional.losses import LossSettings as LossSettings
from lamotr.functional.losses import association_loss as association_loss
from lamotr.functional.losses import decoupled_loss as decoupled_loss
from lamotr.functional.losses import frame_association_loss as frame_association_loss
from lamotr.functional.losses import valid_pairs as valid_pairs
from lamotr.functional.matching import association_targets as association_targets
from lamotr.functional.matching import match_by_id as match_by_id
from lamotr.functional.matching import match_detections as match_detections
from lamotr.functional.relative import relative_boxes as relative_boxes
from lamotr.functional.update import carried_ids as carried_ids
from lamotr.functional.update import weighted_update as weighted_update
