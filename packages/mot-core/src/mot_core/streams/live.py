"""Frames of cameras and of streams from the network, with the times at which they arrive."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mot_core.extras import needs
from mot_core.streams.frames import Frame

URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
TIMEOUT = 10.0
"""Seconds without an answer after which a stream counts as lost."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each attempt to connect again; a frame that arrives starts them over."""


def is_live(source: object) -> bool:
    """Return whether a source is a number of a camera or an address, kept as typed.

    >>> is_live("rtsp://user:password@camera/1"), is_live(0), is_live("1"), is_live("street.mp4")
    (True, True, True, False)
    """
    return isinstance(source, int) or (isinstance(source, str) and bool(source.isdecimal() or URL.match(source)))


class LiveStream:
    """Frames of a camera or network stream, connected again when it drops. An address of a video file ends with it.

    Args:
        source: Number of a camera, or an address such as ``rtsp://camera/1`` or ``http://server/video.mp4``.
        on_drop: Function called with a sentence whenever the connection is lost.

    Attributes:
        name: Name for result files.
        is_file: Whether the source is a file, known once it is open.

    Raises:
        ModuleNotFoundError: If PyAV is not installed.
    """

    def __init__(self, source: str | int, on_drop: Callable[[str], object] = lambda sentence: None) -> None:
        with needs("av", "video", "reading a camera or stream"):
            import av

        self._av = av
        self.source = str(source)
        self._on_drop = on_drop
        self.is_camera = self.source.isdecimal()
        stem = re.sub(r"[?#].*", "", URL.sub("", self.source)).rstrip("/")
        stem = re.sub(r"^[^/@]*@", "", stem)  # no user name or password in the name of a file
        self.name = (
            f"camera{self.source}" if self.is_camera else re.sub(r"[^\w.-]+", "_", stem.rpartition("/")[2] or stem)
        )
        self.name = re.sub(r"\.(mp4|m4v|avi|mov|mkv|webm|ts|m3u8|sdp)$", "", self.name, flags=re.IGNORECASE) or "stream"
        self.is_file = False

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, numbered from 1, with seconds since the first; a stream waits and reconnects when it drops.

        Raises:
            ValueError: If the source cannot be opened at the start, or a file ends in a damaged part.
        """
        number, start, attempt = 0, 0.0, 0
        while True:
            try:
                for image, seconds in self._read(number == 0):
                    now = time.monotonic()
                    start = now if number == 0 else start
                    number, attempt = number + 1, 0
                    yield Frame(number, image, seconds if self.is_file else now - start)
                reason = "it ended"
            except self._av.error.FFmpegError as error:
                reason = error.strerror or type(error).__name__
                if number == 0 or self.is_file:
                    raise ValueError(
                        f"{self.source}: expected a readable video, got {reason} after frame {number}; check the source"
                    ) from error
            if self.is_file:
                return
            if attempt == len(PAUSES):
                self._on_drop(f"{self.source}: {reason} after frame {number}; gave up after {attempt} attempts")
                return
            self._on_drop(f"{self.source}: {reason} after frame {number}; connecting again")
            time.sleep(PAUSES[attempt])
            attempt += 1

    def _read(self, first: bool) -> Iterator[tuple[Any, float | None]]:
        with self._open() as container:
            if not container.streams.video:
                raise ValueError(f"{self.source}: expected a video stream, got none; check the source")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if first:  # only files have a duration
                self.is_file = not self.is_camera and container.duration is not None
            for frame in container.decode(stream):
                yield np.ascontiguousarray(frame.to_ndarray(format="rgb24")), frame.time

    def _open(self) -> Any:
        if self.is_camera:
            if sys.platform == "darwin":
                return self._av.open(self.source, format="avfoundation", options={"framerate": "30"})
            return self._av.open(f"/dev/video{self.source}", format="v4l2")
        options = {"rtsp_transport": "tcp"} if self.source.lower().startswith("rtsp") else {}
        return self._av.open(self.source, options=options, timeout=TIMEOUT)
