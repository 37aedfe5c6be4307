"""Video files, decoded frame by frame with PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.extras import needs

VIDEO_EXTENSIONS = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm")


class VideoFile:
    """Frames of a video file. Reading in order is fast; going back decodes from the start again.

    Args:
        path: Video file.

    Attributes:
        path: Video file.
        length: Number of frames.
        frame_rate: Frames per second, or None if unknown.
        image_size: Height and width in pixels.

    Raises:
        FileNotFoundError: If the file does not exist.
        ModuleNotFoundError: If PyAV is not installed.
        ValueError: If the file is not a video.

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
        if not self.path.is_file():
            raise FileNotFoundError(f"video {path} does not exist; check the path")
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            self.frame_rate = None if not rate else float(rate)
            self.image_size = int(stream.height), int(stream.width)
            # The frame count in the header may be an estimate or missing; counting packets is fast.
            self.length = sum(1 for packet in self._packets(container, stream) if packet.size and not packet.is_discard)
        if not self.length or not min(self.image_size):
            raise ValueError(f"video {path}: expected at least one frame, got none; replace the file")
        self._frames: Iterator[npt.NDArray[np.uint8]] = iter(())
        self._next = self.length  # no decoder is open
        self._last: tuple[int, npt.NDArray[np.uint8]] | None = None

    def read(self, position: int) -> npt.NDArray[np.uint8]:
        """Read the frame at a zero-based position as ``(H, W, 3)`` uint8.

        Raises:
            EOFError: If the video ends before the frame although its header declares it (truncated files).
            ValueError: If the frame cannot be decoded.
        """
        if not 0 <= position < self.length:
            raise IndexError(f"position: expected a frame below {self.length}, got {position}")
        if self._last is not None and self._last[0] == position:
            return self._last[1]
        if position < self._next:
            self._frames, self._next = self._decode(), 0
        for image in self._frames:
            self._next += 1
            if self._next > position:
                self._last = position, image
                return image
        raise EOFError(f"video {self.path} ends after {self._next} frames, but its header declares {self.length}")

    def _decode(self) -> Iterator[npt.NDArray[np.uint8]]:
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            number = 0
            try:
                for frame in container.decode(stream):
                    yield frame.to_ndarray(format="rgb24")
                    number += 1
            except _errors() as error:
                raise ValueError(
                    f"video {self.path} cannot be decoded after frame {number} ({error.strerror}); replace the file"
                ) from error

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        try:
            yield from container.demux(stream)
        except _errors() as error:
            raise ValueError(f"video {self.path} cannot be read ({error.strerror}); replace the file") from error

    def _open(self) -> Any:
        with needs("av", "video", "reading a video"):
            import av
        try:
            container = av.open(str(self.path))
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
