"""An annotated image, and the protocol of sources of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class ImageFrame:
    """An image with its ``G`` objects, before collation into a batch.

    Attributes:
        image: ``(H, W, 3)`` uint8.
        boxes_xyxy: ``(G, 4)`` float64 corners in pixels.
        ids: ``(G,)`` int64 identities, constant within the sequence; -1 if unknown.
        labels: ``(G,)`` int64 class labels from 0.
        visibility: ``(G,)`` float64 visible share of each object, from 0 to 1.
        ignore: ``(G,)`` bool, True for a region that is neither object nor background (distractors, crowds).
        sequence: Name of the sequence.
        number: Frame number in the sequence.
        original_size: Height and width of the image file in pixels.
        depth: ``(H, W)`` float32, NaN where unknown, or None.
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
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def select(self, rows: Any) -> ImageFrame:
        """Return the frame with the selected objects.

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
    """Source of videos and still images that can be read in any order, from any process."""

    @property
    def names(self) -> npt.NDArray[np.str_]:
        """Name of each video, ``(V,)``."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of frames of each video, ``(V,)`` int64; 0 marks a still image, which fills clips of any length."""

    def read(self, video: int, positions: Sequence[int]) -> list[ImageFrame]:
        """Read the frames of a video at zero-based positions."""
