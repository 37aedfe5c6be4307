"""Detection and tracking on the frames of a source, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import Any, TypeVar

from mot_core.association.registry import build_tracker, load_tracker
from mot_core.detectors import Detector, class_numbers, detect, load_detector
from mot_core.streams.ahead import ReadAhead
from mot_core.streams.frames import Frame, open_streams
from mot_core.streams.live import LiveStream, is_live
from mot_core.structures import Tracks

T = TypeVar("T")


def track(
    source: str | int | PathLike[str],
    *,
    detector: str | Detector,
    tracker: Any = "bytetrack",
    classes: Sequence[str | int] | None = None,
    every: int = 1,
    max_frames: int | None = None,
) -> Iterator[tuple[Frame, Tracks]]:
    """Detect and track objects in a video, folder of images, sequence, camera or network stream.

    Frames are decoded in a thread ahead of the detector. Memory does not grow with the length of the source.

    Args:
        source: Video file, folder of images, sequence in MOTChallenge or KITTI layout, number of a camera, or address
            (``rtsp://``, ``http://``), which is used as typed.
        detector: ``KIND:ARGUMENT`` or ``module:callable`` as for :func:`mot_core.detectors.load_detector`, or a
            callable from a list of images to a list of detections.
        tracker: Name of an installed tracker, or a tracker with ``update(boxes_xyxy, scores, classes, timestamp)``.
        classes: Classes to track, by name or number. None tracks all.
        every: Use every N-th frame only; the tracker receives the time between them.
        max_frames: Number of frames to use at most.

    Yields:
        Every frame that is used, with its tracks.

    Raises:
        FileNotFoundError: If there is nothing at ``source``.
        ValueError: If the source has several sequences, or a frame or the detector's result is invalid.

    >>> import numpy as np, tempfile
    >>> from mot_core.data import SyntheticVideo
    >>> video = SyntheticVideo(num_videos=1, num_frames=3).save(tempfile.mkdtemp(), 0)
    >>> def left_half(images):
    ...     return [np.array([[0, 0, image.shape[1] / 2, image.shape[0], 0.9]]) for image in images]
    >>> for frame, tracks in track(video, detector=left_half):
    ...     print(frame.number, tracks.ids, tracks.boxes_xyxy[0])
    1 [1] [ 0.  0. 80. 96.]
    2 [1] [ 0.  0. 80. 96.]
    3 [1] [ 0.  0. 80. 96.]
    """
    model: Detector = load_detector(detector) if isinstance(detector, str) else detector
    chosen = class_numbers(model, classes)
    online = build_tracker(load_tracker(tracker), None, {}) if isinstance(tracker, str) else tracker
    live = LiveStream(source) if isinstance(source, str | int) and is_live(source) else None
    if live is None:
        streams = open_streams(str(source))
        if len(streams) != 1:
            raise ValueError(
                f"source: expected one sequence or video, got {len(streams)} in {source}; give one of them"
            )
    frames = streams[0].frames() if live is None else live.frames()
    rate = getattr(online, "frame_rate", 30.0)
    for frame in ReadAhead(select_frames(frames, every, max_frames), drop_oldest=live is not None):
        found = detect(model, frame.image, chosen)
        # By default in frames of the source, so that max_age and motion count these.
        regular = frame.number / rate if every > 1 else None
        seconds = regular if live is None else frame.seconds
        yield frame, online.update(found.boxes_xyxy, found.scores, found.classes, seconds)


def select_frames(frames: Iterable[T], every: int, max_frames: int | None) -> Iterator[T]:
    """Return every N-th frame, from the first on, and at most ``max_frames`` of them.

    Raises:
        ValueError: If one of the numbers is below 1.

    >>> import numpy as np
    >>> [one.number for one in select_frames((Frame(n, np.zeros((1, 1, 3))) for n in range(1, 9)), 3, 2)]
    [1, 4]
    """
    for name, value in (("every", every), ("max_frames", max_frames)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    return islice(frames, 0, None if max_frames is None else every * (max_frames - 1) + 1, every)
