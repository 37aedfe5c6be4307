"""Times of the packets of a video file, compared with the duration in its header."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timeline:
    """Times of a video file, in seconds.

    Attributes:
        length: Number of packets that hold a frame to be shown.
        end: End of the last packet, of those whose end the header declares.
        video_end: End of the last packet of the video stream.
        interval: Longest time between two frames.
        declared_end: End according to the header, or None if the header states none.
        declared_length: Number of frames according to the header, or None if it states none.
        is_corrupt: Whether the last packet of the video is incomplete.
        is_short: Whether the file has fewer bytes than its header declares.

    >>> Timeline(6, 0.6, 0.6, 0.1, declared_end=2.0, declared_length=20).is_cut
    True
    """

    length: int
    end: float
    video_end: float
    interval: float
    declared_end: float | None = None
    declared_length: int | None = None
    is_corrupt: bool = False
    is_short: bool = False

    @property
    def tolerance(self) -> float:
        """Time that may be missing at the end of a complete file, in which the last frames may have no duration."""
        return self.interval / 2 if self.is_short else 2 * self.interval

    @property
    def is_cut(self) -> bool:
        """Whether the packets end before the time that the header declares, or within a packet."""
        if self.is_corrupt:
            return True
        if self.declared_end is None:
            return self.is_short
        return self.declared_end - self.end > self.tolerance

    def is_lost_after(self, time: float | None) -> bool:
        """Return whether frames are missing if the last decoded frame has this time; some packets hold no frame."""
        return time is None or self.video_end - time > self.interval + self.tolerance

    @classmethod
    def read(cls, container: Any, stream: Any, packets: Iterable[Any], *, is_short: bool) -> Timeline:
        """Read all packets of a container of PyAV.

        Args:
            container: Opened container.
            stream: Video stream to track.
            packets: Packets of all streams.
            is_short: Whether the file has fewer bytes than its header declares.
        """
        step = 1 / float(stream.average_rate) if stream.average_rate else 0.04
        times, length, corrupt, end, video_end = [], 0, False, 0.0, 0.0
        for packet in packets:
            kind = packet.stream.type
            time = packet.dts if packet.pts is None else packet.pts
            if kind not in ("video", "audio") or time is None:
                continue
            seconds = float(time * packet.time_base)
            after = seconds + (float(packet.duration * packet.time_base) if packet.duration else step)
            end = max(end, after)
            if packet.stream.index == stream.index:
                times.append(seconds)
                video_end = max(video_end, after)
                corrupt = packet.is_corrupt
                length += bool(packet.size) and not packet.is_discard
        interval = max([step, *np.diff(sorted(times)).tolist()])
        declared_end, declared_length = _declared(container, stream, min(times, default=0.0))
        of_video = "matroska" not in container.format.name or "DURATION" in stream.metadata
        end = video_end if of_video else end
        return cls(length, end, video_end, interval, declared_end, declared_length, corrupt, is_short)


def _declared(container: Any, stream: Any, start: float) -> tuple[float | None, int | None]:
    """Return end in seconds and number of frames by the header; None if the container states none.

    Other containers than these have no such header: FFmpeg estimates their duration.
    """
    formats = container.format.name.split(",")
    rate = float(stream.average_rate or 0)
    if "avi" in formats:  # FFmpeg shortens the duration to that of the packets, but keeps the number of frames
        return (stream.frames / rate, stream.frames) if stream.frames and rate else (None, None)
    seconds = None
    if "mov" in formats and stream.duration:
        # The duration counts from the first packet, which may start late, or early if an edit list skips it.
        seconds = start + float(stream.duration * stream.time_base)
    elif "matroska" in formats:
        seconds = container.duration / 1e6 if container.duration else None
        tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
        if seconds is not None and tag is not None:
            seconds = min(seconds, 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]))
    return seconds, stream.frames or (round(seconds * rate) if seconds and rate else None)
