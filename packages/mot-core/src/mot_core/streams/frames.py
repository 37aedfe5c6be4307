"""Frames to track in order, from sequences, plain folders of images and video files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mot_core.io import Sequence, find_sequences, guess_benchmark, read_image, read_image_size
from mot_core.io.find import kitti_root
from mot_core.io.images import EXTENSIONS, frame_numbers_of, list_images
from mot_core.io.lengths import missing_frames
from mot_core.streams.video_file import VIDEO_EXTENSIONS, VideoFile

LARGEST_NUMBER = 999_999_999
"""Larger numbers in the names of images are time stamps."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a source.

    Attributes:
        number: Frame number, as in result files.
        image: Pixels ``(H, W, 3)`` uint8 RGB.
        seconds: Time since the first frame, or None if unknown.
    """

    number: int
    image: npt.NDArray[np.uint8]
    seconds: float | None = None


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

    @property
    def name(self) -> str:
        """Name of the sequence."""
        return self.sequence.name

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order; ``seconds`` is the time since the first, if the frame rate is known.

        Raises:
            FileNotFoundError: If an image is missing.
            EOFError: If a video ends before its last frame.
            ValueError: If a frame cannot be decoded.
        """
        rate = self.sequence.frame_rate
        for number in self.sequence.present_numbers():
            seconds = None if rate is None else (number - self.sequence.first_frame) / rate
            yield Frame(number, self.image(number), seconds)


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
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp()) / "img1"
    >>> folder.mkdir()
    >>> for number in (1, 2):
    ...     Image.new("RGB", (160, 96)).save(folder / f"{number:06d}.png")
    >>> (stream,) = open_streams(folder)
    >>> stream.name, [(frame.number, frame.image.shape) for frame in stream.frames()][0]
    ('img1', (1, (96, 160, 3)))
    """
    path = Path(source)
    if not path.exists() and path.suffix:
        raise FileNotFoundError(
            f"{path}: expected a video, an image folder or sequences, found nothing; check the path"
        )
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


def image_paths(sequence: Sequence) -> list[Path]:
    """Return the image file of every frame.

    Raises:
        FileNotFoundError: If images are missing.
    """
    images = None if sequence.image_dir is None else list_images(sequence.image_dir)
    if sequence.image_dir is None or images is None:
        folder = f"image_02/{sequence.name}" if sequence.rules.layout == "kitti" else "img1"
        raise FileNotFoundError(
            f"{sequence.name}: expected images in {sequence.path / folder}, found none; add them, or remove "
            "the sequence"
        )
    missing, first = missing_frames(sequence.frame_numbers(), images.numbers)
    if missing:
        raise FileNotFoundError(
            f"image {sequence.image_dir / images.name(first)} is missing ({missing} of {sequence.length} of "
            f"{sequence.name}); add the images, or correct seqLength in seqinfo.ini"
        )
    return [sequence.image_dir / images.name(number) for number in sequence.frame_numbers()]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
