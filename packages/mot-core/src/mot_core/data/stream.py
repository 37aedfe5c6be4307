"""Frames to be tracked one after the other: of sequences, of plain folders of images and of video files."""

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
from mot_core.io.images import EXTENSIONS
from mot_core.structures import ClipBatch


@dataclass(frozen=True, eq=False)
class FrameStream:
    """A video to be tracked.

    Attributes:
        sequence: its name, frames and rate.
        image: reads the frame of a number, ``(H, W, 3)`` uint8.
    """

    sequence: Sequence
    image: Callable[[int], npt.NDArray[np.uint8]]

    def batch(self, number: int, resize: Augmentation | None = None) -> ClipBatch:
        """A frame as a clip of one frame, prepared as for validation.

        Args:
            number: of the frame, as in ``sequence``.
            resize: what is done to it; should draw nothing.

        Raises:
            FileNotFoundError: the image is missing.
            EOFError: a video ends before it.
            ValueError: it cannot be decoded.
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
    """What can be tracked in a folder or file.

    Args:
        source: sequences as :func:`mot_core.io.find_sequences` knows them, with images; a plain folder of images, in
            the order of the numbers in their names; or a video file. Frames of the last two count from 1.
        benchmark: of the sequences; ``"auto"``: by their names, ``"generic"`` where these tell nothing.
        part: takes a window of each; other frames need not be there.

    Raises:
        FileNotFoundError: there is nothing to track, or an image is missing.
        ValueError: a video or image cannot be read.

    >>> import tempfile
    >>> from mot_core.data import SyntheticVideo
    >>> folder = SyntheticVideo(num_videos=1, num_frames=3).save(tempfile.mkdtemp(), 0)
    >>> (stream,) = open_streams(folder / "img1")  # the same as a plain folder
    >>> stream.sequence.name, stream.sequence.length, stream.batch(2).images.shape
    ('img1', 3, torch.Size([1, 1, 3, 96, 160]))
    """
    path = Path(source)
    if path.is_file():
        return [_video(path, part)]
    if path.is_dir() and not (path / "seqinfo.ini").is_file():
        images = [child for child in path.iterdir() if child.suffix.lower() in EXTENSIONS and child.is_file()]
        if images:
            return [_folder(path, sorted(images, key=_natural), part)]
    return [_sequence(part(one)) for one in _find(path, benchmark)]


def _find(path: Path, benchmark: str) -> list[Sequence]:
    if benchmark != "auto" or kitti_root(path):
        return find_sequences(path, benchmark=benchmark)
    try:
        found = find_sequences(path, benchmark="generic")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; a folder of images holds {', '.join(EXTENSIONS)} files, a video is a file "
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
    name = path.resolve().name
    sequence = part(Sequence(name, path, "generic", len(images), image_size=read_image_size(images[0])))
    return FrameStream(sequence, lambda number: read_image(images[number - 1]))


def _video(path: Path, part: Callable[[Sequence], Sequence]) -> FrameStream:
    video = VideoFile(path)
    sequence = Sequence(path.stem, path, "generic", video.length, 1, video.frame_rate, video.image_size)
    return FrameStream(part(sequence), lambda number: video.read(number - 1))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
