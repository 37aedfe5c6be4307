"""ByteTrack (Zhang et al., ECCV 2022) with its YOLOX detector, trained on clips or stills."""

from mot_core.trackers.yolox_bytetrack.tracker import YOLOXByteTrack as YOLOXByteTrack
