"""All frames and boxes of a data set as a few arrays.

Lists of Python objects would be copied into every worker bit by bit: reading an object writes its reference count,
and so un-shares its memory page. Arrays stay shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.data.decode import DecodeCache, read_depth, read_image
from mot_core.data.image_frame import ImageFrame

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Where the ``F`` frames of ``V`` videos are, and their ``R`` boxes. A :class:`~mot_core.data.FrameSource`.

    Attributes:
        names: ``(V,)`` names of the videos.
        first: ``(V + 1,)`` int64; video ``v`` has the frames ``first[v]`` to ``first[v + 1] - 1``.
        still: ``(V,)`` bool, a single image that is not of a video.
        sizes: ``(V, 2)`` int64 (height, width) in which the boxes are given; 0 where not known.
        numbers: ``(F,)`` int64 real numbers of the frames.
        paths: ``(F,)`` bytes, the image files.
        first_row: ``(F + 1,)`` int64; frame ``f`` has the rows ``first_row[f]`` to ``first_row[f + 1] - 1``.
        boxes_xyxy, ids, labels, visibility, ignore: ``(R, ...)`` as in :class:`~mot_core.data.ImageFrame`.
        with_depth: read ``depth/NAME.png`` beside the folder of the images.
        cache: keeps decoded images.
    """

    names: npt.NDArray[np.str_]
    first: Ints
    still: npt.NDArray[np.bool_]
    sizes: Ints
    numbers: Ints
    paths: npt.NDArray[np.bytes_]
    first_row: Ints
    boxes_xyxy: npt.NDArray[np.float64]
    ids: Ints
    labels: Ints
    visibility: npt.NDArray[np.float64]
    ignore: npt.NDArray[np.bool_]
    with_depth: bool = False
    cache: DecodeCache = field(default_factory=lambda: DecodeCache(0), repr=False)

    @property
    def lengths(self) -> Ints:
        """``(V,)`` int64 frames of each video; 0 for a still."""
        return np.where(self.still, 0, np.diff(self.first))

    def read(self, video: int, positions: Sequence[int]) -> list[ImageFrame]:
        """The frames of a video at some positions, from 0; a still is always at position 0.

        Raises:
            FileNotFoundError: an image or depth map is missing.
            ValueError: an image cannot be decoded, or has not the size in which its boxes are given.
        """
        return [self._frame(video, int(self.first[video]) + position) for position in positions]

    def _frame(self, video: int, frame: int) -> ImageFrame:
        path = os.fsdecode(self.paths[frame])
        image = self.cache.get(path, read_image)
        size = (image.shape[0], image.shape[1])
        expected = (int(self.sizes[video, 0]), int(self.sizes[video, 1]))
        if expected != (0, 0) and size != expected:
            raise ValueError(
                f"image {path} is {size[1]}x{size[0]}, but the boxes of {self.names[video]} are given in pixels of "
                f"{expected[1]}x{expected[0]}; scale the boxes, or correct the size that is told with them"
            )
        rows = slice(int(self.first_row[frame]), int(self.first_row[frame + 1]))
        return ImageFrame(
            image=image,
            boxes_xyxy=self.boxes_xyxy[rows],
            ids=self.ids[rows],
            labels=self.labels[rows],
            visibility=self.visibility[rows],
            ignore=self.ignore[rows],
            sequence=str(self.names[video]),
            number=int(self.numbers[frame]),
            original_size=size,
            depth=self._depth(path, size) if self.with_depth else None,
        )

    def _depth(self, image_path: str, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        path = depth_path(image_path)
        depth = self.cache.get(str(path), read_depth)
        if depth.shape != size:
            raise ValueError(
                f"depth map {path} is {depth.shape[1]}x{depth.shape[0]}, its image {size[1]}x{size[0]}; "
                "make the depth maps in the size of the images"
            )
        return depth.astype(np.float32)

    @classmethod
    def concatenate(cls, parts: Iterable[FrameIndex], cache: DecodeCache | None = None) -> FrameIndex:
        """Several data sets as one, with one cache. There are depth maps where the first has them."""
        indices = list(parts)
        joined: dict[str, Any] = {}
        for name in (f.name for f in fields(cls) if f.name not in ("with_depth", "cache")):
            arrays = [getattr(index, name) for index in indices]
            joined[name] = _join_offsets(arrays) if name in ("first", "first_row") else np.concatenate(arrays)
        return replace(indices[0], cache=cache or DecodeCache(0), **joined)


@dataclass(frozen=True, eq=False)
class Video:
    """The frames and the ``R`` boxes of one video or still, to be put into an index.

    Attributes:
        name: of the sequence.
        numbers: real numbers of its frames.
        paths: image file of each frame.
        frame: ``(R,)`` position of the frame of each box, ascending.
        boxes_xyxy, ids, labels, visibility, ignore: ``(R, ...)`` as in :class:`~mot_core.data.ImageFrame`.
        size: (height, width) in which the boxes are given.
        still: a single image that is not of a video.
    """

    name: str
    numbers: Sequence[int]
    paths: Sequence[str | os.PathLike[str]]
    frame: npt.NDArray[np.int64]
    boxes_xyxy: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    visibility: npt.NDArray[np.float64]
    ignore: npt.NDArray[np.bool_]
    size: tuple[int, int] | None = None
    still: bool = False


def build_index(videos: Iterable[Video]) -> FrameIndex:
    """The index of videos that are told one by one."""
    parts = list(videos)
    numbers = np.concatenate([np.asarray(video.numbers, np.int64) for video in parts])
    counts = np.concatenate([np.bincount(video.frame, minlength=len(video.numbers)) for video in parts])
    columns: Any = {
        name: np.concatenate([np.asarray(getattr(video, name), dtype) for video in parts])
        for name, dtype in _COLUMNS.items()
    }
    return FrameIndex(
        names=np.array([video.name for video in parts], np.str_),
        first=_offsets(np.array([len(video.numbers) for video in parts], np.int64)),
        still=np.array([video.still for video in parts], bool),
        sizes=np.array([video.size or (0, 0) for video in parts], np.int64),
        numbers=numbers,
        paths=np.array([os.fsencode(path) for video in parts for path in video.paths], np.bytes_),
        first_row=_offsets(counts.astype(np.int64)),
        **columns,
    )


def depth_path(image_path: str | os.PathLike[str]) -> Path:
    """Where the depth map of an image is.

    >>> depth_path("MOT17/train/MOT17-02/img1/000001.jpg").as_posix()
    'MOT17/train/MOT17-02/depth/000001.png'
    """
    path = Path(image_path)
    return path.parent.parent / "depth" / f"{path.stem}.png"


_COLUMNS: dict[str, Any] = {
    "boxes_xyxy": np.float64,
    "ids": np.int64,
    "labels": np.int64,
    "visibility": np.float64,
    "ignore": np.bool_,
}


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _join_offsets(parts: Sequence[Ints]) -> Ints:
    return _offsets(np.concatenate([np.diff(part) for part in parts]))
