"""Sources of frames: sequences, folders of images, videos, cameras and network streams; tracking on them."""

from mot_core.streams.ahead import ReadAhead
from mot_core.streams.frames import Frame, FrameStream, open_streams
from mot_core.streams.live import LiveStream, is_live
from mot_core.streams.online import select_frames, track

__all__ = ["Frame", "FrameStream", "LiveStream", "ReadAhead", "is_live", "open_streams", "select_frames", "track"]
