"""Frames and boxes of a dataset as a few arrays.

Arrays stay shared between worker processes. Lists of Python objects do not: reading an object updates its reference
count, which copies its memory page into the worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.data.decode import DecodeCache, read_image
from mot_core.data.image_frame import ImageFrame
from mot_core.io.images import depth_file, read_depth

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Index of the ``F`` frames and ``R`` boxes of ``V`` videos; a :class:`~mot_core.data.FrameSource`.

    Attributes:
        names: ``(V,)`` names of the videos.
        first: ``(V + 1,)`` int64 offsets; video ``v`` has the frames ``first[v]`` to ``first[v + 1] - 1``.
        still: ``(V,)`` bool, True for a still image.
        sizes: ``(V, 2)`` int64 height and width in pixels that the boxes refer to; 0 if unknown.
        numbers: ``(F,)`` int64 frame numbers.
        paths: ``(F,)`` bytes, image files.
        first_row: ``(F + 1,)`` int64 offsets; frame ``f`` has the rows ``first_row[f]`` to ``first_row[f + 1] - 1``.
        boxes_xyxy, ids, labels, visibility, ignore: ``(R, ...)`` as in :class:`~mot_core.data.ImageFrame`.
        with_depth: Whether depth maps are read from the folder ``depth`` next to that of the images; frames without one
            have a map of NaN.
        cache: Cache of decoded images.
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
        """Number of frames of each video, ``(V,)`` int64; 0 for a still image."""
        return np.where(self.still, 0, np.diff(self.first))

    def read(self, video: int, positions: Sequence[int]) -> list[ImageFrame]:
        """Read the frames of a video at zero-based positions; a still image has position 0 only.

        Raises:
            FileNotFoundError: If an image is missing.
            ValueError: If an image cannot be decoded, or does not have the size that its boxes refer to.
        """
        return [self._frame(video, int(self.first[video]) + position) for position in positions]

    def _frame(self, video: int, frame: int) -> ImageFrame:
        path = os.fsdecode(self.paths[frame])
        image = self.cache.get(path, read_image)
        size = (image.shape[0], image.shape[1])
        expected = (int(self.sizes[video, 0]), int(self.sizes[video, 1]))
        if expected != (0, 0) and size != expected:
            raise ValueError(
                f"image {path}: expected {expected[1]}x{expected[0]}, the size declared with the boxes of "
                f"{self.names[video]}, got {size[1]}x{size[0]}; scale the boxes, or correct the declared size"
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
        path = depth_file(image_path)
        if path is None:
            return np.full(size, np.nan, np.float32)
        depth: npt.NDArray[np.float32] = self.cache.get(str(path), read_depth)
        if depth.shape != size:
            raise ValueError(
                f"depth map {path}: expected {size[1]}x{size[0]}, the size of its image, got "
                f"{depth.shape[1]}x{depth.shape[0]}; resize the depth maps"
            )
        return depth

    @classmethod
    def concatenate(cls, parts: Iterable[FrameIndex], cache: DecodeCache | None = None) -> FrameIndex:
        """Concatenate datasets, with one cache. Depth maps are read if the first dataset has them."""
        indices = list(parts)
        joined: dict[str, Any] = {}
        for name in (f.name for f in fields(cls) if f.name not in ("with_depth", "cache")):
            arrays = [getattr(index, name) for index in indices]
            joined[name] = _join_offsets(arrays) if name in ("first", "first_row") else np.concatenate(arrays)
        return replace(indices[0], cache=cache or DecodeCache(0), **joined)


@dataclass(frozen=True, eq=False)
class Video:
    """Frames and ``R`` boxes of one video or still image, as input of :func:`build_index`.

    Attributes:
        name: Name of the sequence.
        numbers: Frame numbers.
        paths: Image file of each frame.
        frame: ``(R,)`` zero-based position of the frame of each box, ascending.
        boxes_xyxy, ids, labels, visibility, ignore: ``(R, ...)`` as in :class:`~mot_core.data.ImageFrame`.
        size: Height and width in pixels that the boxes refer to. None if unknown.
        still: Whether it is a still image.
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
    """Build the index of videos."""
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
