"""Video files: decoded frame by frame, and compared with the duration in their header."""

from mot_core.streams.video_file.reader import VIDEO_EXTENSIONS, TruncatedVideoError, VideoFile
from mot_core.streams.video_file.timeline import Timeline

__all__ = ["VIDEO_EXTENSIONS", "Timeline", "TruncatedVideoError", "VideoFile"]
