"""Trainable trackers: LightningModules with plug-ins.

>>> from mot_core.trackers import DetectorSettings
>>> DetectorSettings().num_queries
300
"""

from mot_core.trackers.base import Tracker as Tracker
from mot_core.trackers.dense import DenseTracker as DenseTracker
from mot_core.trackers.detr import DETRTracker as DETRTracker
from mot_core.trackers.fairmot import FairMOT as FairMOT
from mot_core.trackers.gtr import GTR as GTR
from mot_core.trackers.memotr import MeMOTR as MeMOTR
from mot_core.trackers.mote import MOTE as MOTE
from mot_core.trackers.motip import MOTIP as MOTIP
from mot_core.trackers.motr import MOTR as MOTR
from mot_core.trackers.motr.query_tracker import QueryTracker as QueryTracker
from mot_core.trackers.outputs import FrameTracks as FrameTracks
from mot_core.trackers.outputs import frame_output as frame_output
from mot_core.trackers.settings import AssociationSettings as AssociationSettings
from mot_core.trackers.settings import CenterNetSettings as CenterNetSettings
from mot_core.trackers.settings import DetectorSettings as DetectorSettings
from mot_core.trackers.settings import FairMOTSettings as FairMOTSettings
from mot_core.trackers.settings import OptimizerSettings as OptimizerSettings
from mot_core.trackers.settings import YOLOXSettings as YOLOXSettings
from mot_core.trackers.trackformer import TrackFormer as TrackFormer
from mot_core.trackers.yolox_bytetrack import YOLOXByteTrack as YOLOXByteTrack
