"""One annotated image, and where images come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class ImageFrame:
    """An image with its ``G`` objects, before it is put into a batch.

    Attributes:
        image: ``(H, W, 3)`` uint8.
        boxes_xyxy: ``(G, 4)`` float64 corners in pixels of the image.
        ids: ``(G,)`` int64 identities, the same through the sequence; -1 where unknown.
        labels: ``(G,)`` int64 class labels from 0.
        visibility: ``(G,)`` float64 visible share.
        ignore: ``(G,)`` bool, True for a region that is neither object nor background (distractors, crowds).
        sequence: name of the sequence.
        number: real number of the frame.
        original_size: (height, width) of the file.
        depth: ``(H, W)`` float32 from 0 (far) to 255 (near), or None.
    """

    image: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    visibility: npt.NDArray[np.float64]
    ignore: npt.NDArray[np.bool_]
    sequence: str
    number: int
    original_size: tuple[int, int]
    depth: npt.NDArray[np.float32] | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]

    def select(self, rows: Any) -> ImageFrame:
        """The frame with some of its objects.

        >>> none = np.zeros(0, np.int64)
        >>> ids = np.array([7, 9])
        >>> image = np.zeros((2, 3, 3), np.uint8)
        >>> frame = ImageFrame(image, np.zeros((2, 4)), ids, ids, ids / 9, ids > 8, "clip", 1, (2, 3))
        >>> frame.select(~frame.ignore).ids
        array([7])
        """
        names = ("boxes_xyxy", "ids", "labels", "visibility", "ignore")
        values: dict[str, Any] = {name: getattr(self, name)[rows] for name in names}
        return replace(self, **values)


class FrameSource(Protocol):
    """Videos and stills whose frames can be read in any order, from any process."""

    @property
    def names(self) -> npt.NDArray[np.str_]:
        """``(V,)`` name of each video."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``(V,)`` int64 frames of each video; 0: a still, of which a clip of any length can be made."""

    def read(self, video: int, positions: Sequence[int]) -> list[ImageFrame]:
        """The frames of a video at some positions, from 0 and below its length."""
