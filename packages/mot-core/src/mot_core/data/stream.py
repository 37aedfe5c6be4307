"""Batches of the frames to track, prepared as in validation."""

from __future__ import annotations

import numpy as np

from mot_core.data.augmentation import Augmentation
from mot_core.data.collate import collate
from mot_core.data.image_frame import ImageFrame
from mot_core.streams.frames import FrameStream
from mot_core.structures import ClipBatch


def frame_batch(stream: FrameStream, number: int, resize: Augmentation | None = None) -> ClipBatch:
    """Read a frame as a batch of one clip of one frame, prepared as in validation.

    Args:
        stream: Stream of frames.
        number: Frame number in ``stream.sequence``.
        resize: Deterministic transform of the frame. None: no resizing.

    Raises:
        FileNotFoundError: If the image is missing.
        EOFError: If the video ends before the frame.
        ValueError: If the frame cannot be decoded.

    >>> import tempfile
    >>> from mot_core.data import SyntheticVideo
    >>> from mot_core.streams.frames import open_streams
    >>> folder = SyntheticVideo(num_videos=1, num_frames=3).save(tempfile.mkdtemp(), 0)
    >>> (stream,) = open_streams(folder / "img1")  # as a plain folder
    >>> frame_batch(stream, 2).images.shape
    torch.Size([1, 1, 3, 96, 160])
    """
    image = stream.image(number)
    none = np.zeros(0, np.int64)
    size = (image.shape[0], image.shape[1])
    frame = ImageFrame(image, np.zeros((0, 4)), none, none, np.zeros(0), none.astype(bool), stream.name, number, size)
    return collate([(resize or Augmentation())([frame], np.random.default_rng(0), cut=False)])
