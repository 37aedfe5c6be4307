"""Plain dataclasses of tensors: detections and tracks of a frame, and the clips that trackers and plug-ins exchange."""

from mot_core.structures.clip import ClipBatch as ClipBatch
from mot_core.structures.clip import ClipOutput as ClipOutput
from mot_core.structures.clip import FeaturePyramid as FeaturePyramid
from mot_core.structures.clip import FrameOutput as FrameOutput
from mot_core.structures.clip import FrameTargets as FrameTargets
from mot_core.structures.clip import TrackerSpec as TrackerSpec
from mot_core.structures.clip import TrackState as TrackState
from mot_core.structures.detections import Array as Array
from mot_core.structures.detections import Detections as Detections
from mot_core.structures.detections import Index as Index
from mot_core.structures.detections import Tracks as Tracks
from mot_core.structures.detections import to_numpy as to_numpy
from mot_core.structures.foreign import detections_from as detections_from
