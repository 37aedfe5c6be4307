"""Video files, decoded frame by frame with PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.extras import needs
from mot_core.io.problems import require_file
from mot_core.streams.video_file.container_size import is_cut_off
from mot_core.streams.video_file.timeline import Timeline

VIDEO_EXTENSIONS = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm")


class TruncatedVideoError(EOFError):
    """A video is cut off or damaged: it ends before the frames that its header declares."""


class VideoFile:
    """Frames of a video file. Reading in order is fast; going back decodes from the start again.

    Args:
        path: Video file.

    Attributes:
        path: Video file.
        length: Number of frames.
        frame_rate: Frames per second, or None if unknown.
        image_size: Height and width in pixels, upright.
        truncated: Sentence that states how many frames are lost at the end, or None. Some losses are known only after
            the last frame is read.

    Raises:
        FileNotFoundError: If the file does not exist.
        ModuleNotFoundError: If PyAV is not installed.
        ValueError: If the file is not a video, or not a regular file.

    >>> import tempfile
    >>> from PIL import Image
    >>> from mot_core.visualization import write_video
    >>> pictures = [Image.new("RGB", (64, 48), (80 * step, 0, 0)) for step in range(3)]
    >>> video = VideoFile(write_video(Path(tempfile.mkdtemp()) / "red.mp4", pictures, frame_rate=12))
    >>> video.length, video.frame_rate, video.image_size, video.read(2).shape
    (3, 12.0, (48, 64), (48, 64, 3))
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        require_file(self.path, "video")
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            self.frame_rate = None if not rate else float(rate)
            packets = self._packets(container)
            self._times = Timeline.read(container, stream, packets, is_short=is_cut_off(self.path))
        # The frame count in the header may be an estimate or missing; counting packets is fast.
        self.length = self._times.length
        if not self.length:
            raise ValueError(f"video {path}: expected at least one frame, got none; replace the file")
        self.truncated = self._lost(self.length) if self._times.is_cut else None
        self._frames: Iterator[tuple[float | None, npt.NDArray[np.uint8]]] = iter(())
        self._next = self.length  # no decoder is open
        self._last: tuple[int, npt.NDArray[np.uint8]] | None = None
        try:
            height, width = self.read(0).shape[:2]  # the rotation is stored with the frames
        except EOFError as error:
            raise ValueError(f"video {path}: expected at least one frame, got none; replace the file") from error
        self.image_size = height, width

    def read(self, position: int) -> npt.NDArray[np.uint8]:
        """Read the frame at a zero-based position as ``(H, W, 3)`` uint8, upright by the rotation in the metadata.

        Raises:
            TruncatedVideoError: If the video ends before the frame because it is cut off or damaged.
            EOFError: If the video ends before the frame because some of its packets hold no frame.
            ValueError: If the first frame cannot be decoded.
        """
        if not 0 <= position < self.length:
            raise IndexError(f"position: expected a frame below {self.length}, got {position}")
        if self._last is not None and self._last[0] == position:
            return self._last[1]
        if position < self._next:
            self._frames, self._next = self._decode(), 0
        for _, image in self._frames:
            self._next += 1
            if self._next > position:
                self._last = position, image
                return image
        if self.truncated:
            raise TruncatedVideoError(self.truncated)
        raise EOFError(
            f"video {self.path} ends after {self._next} frames, as {self.length - self._next} packets hold none"
        )

    def _decode(self) -> Iterator[tuple[float | None, npt.NDArray[np.uint8]]]:
        """Yield time and pixels of all frames; set ``truncated`` if they end early."""
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            number, time = 0, None
            errors = _errors()  # here, because imports fail when the interpreter shuts down
            try:
                for frame in container.decode(stream):
                    time = frame.time
                    upright = np.rot90(frame.to_ndarray(format="rgb24"), self._turns(frame))
                    yield time, np.ascontiguousarray(upright)
                    number += 1
            except errors as error:
                reason = f"video {self.path} cannot be decoded after frame {number} ({error.strerror})"
                if not number:
                    raise ValueError(f"{reason}; replace the file") from error
                self.truncated = reason
            else:
                if number < self.length and (self.truncated or self._times.is_lost_after(time)):
                    self.truncated = self._lost(number)

    def _turns(self, frame: Any) -> int:
        """Return the number of counterclockwise quarter turns that show a frame upright."""
        turns = round(frame.rotation / 90)
        if abs(frame.rotation - 90 * turns) > 1:  # PyAV truncates the angle to an integer
            raise ValueError(
                f"video {self.path}: expected a rotation by a multiple of 90 degrees, got {frame.rotation}; "
                "rotate the frames"
            )
        return turns

    def _lost(self, count: int) -> str:
        declared = self._times.declared_length or self.length
        return f"video {self.path} ends after {count} of {max(declared, count + 1)} frames"

    def _packets(self, container: Any) -> Iterator[Any]:
        try:
            yield from container.demux()
        except _errors() as error:
            raise ValueError(f"video {self.path} cannot be read ({error.strerror}); replace the file") from error

    def _open(self) -> Any:
        with needs("av", "video", "reading a video"):
            import av
        try:
            container = av.open(str(self.path), metadata_errors="replace")  # titles may have any encoding
        except _errors() as error:
            raise ValueError(
                f"{self.path}: expected a readable video ({', '.join(VIDEO_EXTENSIONS)}), got {error.strerror}; "
                "replace the file"
            ) from error
        if not container.streams.video:
            container.close()
            raise ValueError(f"{self.path}: expected a video stream, got only audio or subtitles; replace the file")
        return container


def _errors() -> Any:
    """Return the exception type that PyAV raises for broken files."""
    import av

    return av.error.FFmpegError
