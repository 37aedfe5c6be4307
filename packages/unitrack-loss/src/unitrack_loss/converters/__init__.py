"""Converters from the tensors of other trackers to a :class:`unitrack_loss.TrackClip`, preserving gradients.

These pure functions do not require any of the projects to be installed. Each returns one frame for
:meth:`unitrack_loss.TrackClip.from_frames`, or a whole clip. Use the MOTR converter for MOTE, a fork of MOTR, and the
YOLOX converter for ByteTrack, which trains YOLOX.
"""

from unitrack_loss.converters.detr import detr_frame
from unitrack_loss.converters.fairmot import fairmot_clip
from unitrack_loss.converters.gtr import gtr_clip
from unitrack_loss.converters.motr import motr_frame
from unitrack_loss.converters.torchvision import torchvision_frame
from unitrack_loss.converters.trackformer import trackformer_frame
from unitrack_loss.converters.yolox import yolox_frame

__all__ = [
    "detr_frame",
    "fairmot_clip",
    "gtr_clip",
    "motr_frame",
    "torchvision_frame",
    "trackformer_frame",
    "yolox_frame",
]
