"""Frames to track in order, from sequences, plain folders of images and video files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mot_core.data.augmentation import Augmentation
from mot_core.data.collate import collate
from mot_core.data.decode import read_image
from mot_core.data.folders import image_paths
from mot_core.data.image_frame import ImageFrame
from mot_core.data.video_file import VIDEO_EXTENSIONS, VideoFile
from mot_core.io import Sequence, find_sequences, guess_benchmark, read_image_size
from mot_core.io.find import kitti_root
from mot_core.io.images import EXTENSIONS, frame_numbers_of
from mot_core.io.lengths import missing_frames
from mot_core.structures import ClipBatch

LARGEST_NUMBER = 999_999_999
"""Larger numbers in the names of images are time stamps."""


@dataclass(frozen=True, eq=False)
class FrameStream:
    """A stream of frames to track.

    Attributes:
        sequence: Name, frame numbers and frame rate.
        image: Function that reads the frame with a given number as ``(H, W, 3)`` uint8.
        note: Sentence about the frame numbers that the user should read, or None.
        truncated: Sentence about frames lost at the end, if that is known before they are read, otherwise None.
    """

    sequence: Sequence
    image: Callable[[int], npt.NDArray[np.uint8]]
    note: str | None = None
    truncated: str | None = None

    def batch(self, number: int, resize: Augmentation | None = None) -> ClipBatch:
        """Read a frame as a batch of one clip of one frame, prepared as in validation.

        Args:
            number: Frame number in ``sequence``.
            resize: Deterministic transform of the frame. None: no resizing.

        Raises:
            FileNotFoundError: If the image is missing.
            EOFError: If the video ends before the frame.
            ValueError: If the frame cannot be decoded.
        """
        image = self.image(number)
        none = np.zeros(0, np.int64)
        size = (image.shape[0], image.shape[1])
        frame = ImageFrame(
            image, np.zeros((0, 4)), none, none, np.zeros(0), none.astype(bool), self.sequence.name, number, size
        )
        return collate([(resize or Augmentation())([frame], np.random.default_rng(0), cut=False)])


def open_streams(
    source: str | PathLike[str], benchmark: str = "auto", part: Callable[[Sequence], Sequence] = lambda whole: whole
) -> list[FrameStream]:
    """Open the sequences, images or video at a path for tracking.

    Args:
        source: Sequences with images, as found by :func:`mot_core.io.find_sequences`; a plain folder of images; or a
            video file, with frames from 1. Images have the frame numbers in their names if these differ in one number
            only (``shot9.jpg``, ``shot10.jpg``). Frames are numbered from 1, in the order of the names, if names differ
            in more or have numbers of more than 9 digits (time stamps).
        benchmark: Benchmark of the sequences. ``"auto"`` infers it from folder names, with ``"generic"`` as fallback.
        part: Function that selects a window of each sequence; images outside of it may be missing.

    Raises:
        FileNotFoundError: If there is nothing to track, or an image is missing.
        ValueError: If a video or image cannot be read, or two images have the same number.

    >>> import tempfile
    >>> from mot_core.data import SyntheticVideo
    >>> folder = SyntheticVideo(num_videos=1, num_frames=3).save(tempfile.mkdtemp(), 0)
    >>> (stream,) = open_streams(folder / "img1")  # as a plain folder
    >>> stream.sequence.name, stream.sequence.length, stream.batch(2).images.shape
    ('img1', 3, torch.Size([1, 1, 3, 96, 160]))
    """
    path = Path(source)
    if path.exists() and not path.is_dir():
        return [_video(path, part)]
    if path.is_dir() and not (path / "seqinfo.ini").is_file():
        images = [child for child in path.iterdir() if child.suffix.lower() in EXTENSIONS and not child.is_dir()]
        if images:
            return [_folder(path, images, part)]
    return [_sequence(part(one)) for one in _find(path, benchmark)]


def _find(path: Path, benchmark: str) -> list[Sequence]:
    if benchmark != "auto" or kitti_root(path):
        return find_sequences(path, benchmark=benchmark)
    try:
        found = find_sequences(path, benchmark="generic")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; or pass a folder of images ({', '.join(EXTENSIONS)}) or a video file "
            f"({', '.join(VIDEO_EXTENSIONS)})"
        ) from None
    try:
        name = guess_benchmark([one.path.absolute() for one in found])
    except ValueError:
        return found
    return [replace(one, benchmark=name) for one in found]


def _sequence(sequence: Sequence) -> FrameStream:
    paths = dict(zip(sequence.frame_numbers(), image_paths(sequence), strict=True))
    size = read_image_size(paths[sequence.first_frame])
    return FrameStream(replace(sequence, image_size=size), lambda number: read_image(paths[number]))


def _folder(path: Path, images: list[Path], part: Callable[[Sequence], Sequence]) -> FrameStream:
    paths, note = _numbered(path, images)
    numbers = sorted(paths)
    whole = Sequence(
        name=path.resolve().name,
        path=path,
        benchmark="generic",
        length=numbers[-1] - numbers[0] + 1,
        first_frame=numbers[0],
        image_size=read_image_size(paths[numbers[0]]),
        present=None if numbers[-1] - numbers[0] < len(numbers) else tuple(numbers),
    )
    sequence = part(whole)
    missing, first = missing_frames(sequence.frame_numbers(), numbers)
    if missing:
        span = sequence.frame_numbers()
        gap = f"{missing} of the frames {span[0]}-{span[-1]} have no image, the first is {first}; they are left out"
        note = f"{note}; {gap}" if note else f"{path}: {gap}"
    return FrameStream(sequence, lambda number: read_image(paths[number]), note)


def _numbered(path: Path, images: list[Path]) -> tuple[dict[int, Path], str | None]:
    """Return the images of a folder by frame number, and a note if these are not the numbers in their names."""
    names = frame_numbers_of(path, (image.name for image in images))
    if names is None or max(names) > LARGEST_NUMBER:
        note = f"{path}: frames are numbered from 1 in the order of the names, which do not hold frame numbers"
        return dict(enumerate(sorted(images, key=_natural), 1)), note
    if 0 in names:  # frames of result files count from 1
        note = f"{path}: frames are numbered from 1, so the frame of {names[0]} is 1"
        return {number + 1: path / name for number, name in names.items()}, note
    return {number: path / name for number, name in names.items()}, None


def _video(path: Path, part: Callable[[Sequence], Sequence]) -> FrameStream:
    video = VideoFile(path)
    sequence = part(Sequence(path.stem, path, "generic", video.length, 1, video.frame_rate, video.image_size))
    reaches_end = sequence.frame_numbers()[-1] == video.length
    truncated = video.truncated if reaches_end else None
    return FrameStream(sequence, lambda number: video.read(number - 1), truncated=truncated)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
