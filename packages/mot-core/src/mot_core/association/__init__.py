"""Association of detections at inference: SORT, ByteTrack, OC-SORT, BoT-SORT and C-BIoU on one table, in NumPy.

A tracker receives the detections of one frame and returns its tracks; see :meth:`OnlineTracker.update`.
"""

from mot_core.association.appearance import AppearanceTrack as AppearanceTrack
from mot_core.association.assignment import assign as assign
from mot_core.association.base import OnlineTracker as OnlineTracker
from mot_core.association.base import Preset as Preset
from mot_core.association.botsort import BoTSort as BoTSort
from mot_core.association.bytetrack import ByteTrack as ByteTrack
from mot_core.association.camera_motion import CameraMotion as CameraMotion
from mot_core.association.camera_motion import read_camera_motion as read_camera_motion
from mot_core.association.cbiou import CBIoU as CBIoU
from mot_core.association.costs import AssociationCost as AssociationCost
from mot_core.association.costs import DetectionBatch as DetectionBatch
from mot_core.association.costs import TrackBatch as TrackBatch
from mot_core.association.costs import iou_cost as iou_cost
from mot_core.association.costs import pixel_iou_cost as pixel_iou_cost
from mot_core.association.kalman import BatchedKalman as BatchedKalman
from mot_core.association.kalman import MotionNoise as MotionNoise
from mot_core.association.motion import LearnedMotion as LearnedMotion
from mot_core.association.motion import read_motion as read_motion
from mot_core.association.named_costs import read_cost as read_cost
from mot_core.association.ocsort import OCSort as OCSort
from mot_core.association.offline import KalmanLinkGain as KalmanLinkGain
from mot_core.association.offline import LinkCandidates as LinkCandidates
from mot_core.association.offline import LinkGain as LinkGain
from mot_core.association.offline import interpolate_tracks as interpolate_tracks
from mot_core.association.offline import link_tracks as link_tracks
from mot_core.association.sort import Sort as Sort
