"""Video files as frames, decoded one after the other by PyAV (FFmpeg)."""

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
    """The frames of a video file, from 0. Reading them in their order is fast, going back starts anew.

    Args:
        path: of the file.

    Attributes:
        path: of the file.
        length: number of frames.
        frame_rate: frames per second, None where the file does not tell.
        image_size: (height, width).

    Raises:
        FileNotFoundError: it is not there.
        ModuleNotFoundError: PyAV is not installed.
        ValueError: it is no video.

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
            raise FileNotFoundError(f"there is no video {path}; check the path")
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            self.frame_rate = None if not rate else float(rate)
            self.image_size = int(stream.height), int(stream.width)
            # What the header tells may be an estimate, or nothing; reading packets is fast.
            self.length = sum(1 for packet in self._packets(container, stream) if packet.size and not packet.is_discard)
        if not self.length or not min(self.image_size):
            raise ValueError(f"video {path} has no frames; replace the file")
        self._frames: Iterator[npt.NDArray[np.uint8]] = iter(())
        self._next = self.length  # nothing is open
        self._last: tuple[int, npt.NDArray[np.uint8]] | None = None

    def read(self, position: int) -> npt.NDArray[np.uint8]:
        """The frame at a position, ``(H, W, 3)`` uint8.

        Raises:
            EOFError: the video ends before it, although the file tells otherwise (some cut videos).
            ValueError: it cannot be decoded.
        """
        if not 0 <= position < self.length:
            raise IndexError(f"frame {position} of {self.length}")
        if self._last is not None and self._last[0] == position:
            return self._last[1]
        if position < self._next:
            self._frames, self._next = self._decode(), 0
        for image in self._frames:
            self._next += 1
            if self._next > position:
                self._last = position, image
                return image
        raise EOFError(f"video {self.path} ends after {self._next} frames, although it tells of {self.length}")

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
                f"{self.path} is not a video that can be read ({error.strerror}); expected one of "
                f"{', '.join(VIDEO_EXTENSIONS)}"
            ) from error
        if not container.streams.video:
            container.close()
            raise ValueError(f"{self.path} has no video in it, only sound or text")
        return container


def _errors() -> Any:
    """What PyAV raises for broken files."""
    import av

    return av.error.FFmpegError
