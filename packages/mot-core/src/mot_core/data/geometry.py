"""Geometric transform of a frame: crop, resize and flip in one resampling step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.boxes import box_area
from mot_core.data.decode import pillow
from mot_core.data.image_frame import ImageFrame

SMALLEST_SIDE = 1.0  # pixels per side; smaller remains of clipped objects are dropped


@dataclass(frozen=True)
class View:
    """Crop, resize and flip of a frame.

    Attributes:
        window_xyxy: Cropped window within the frame, in pixels.
        size: Height and width of the result in pixels.
        flip: Whether the result is flipped horizontally.
    """

    window_xyxy: tuple[float, float, float, float]
    size: tuple[int, int]
    flip: bool = False

    def apply(self, frame: ImageFrame, *, cut: bool = True) -> ImageFrame:
        """Transform image, depth map and boxes of a frame.

        Args:
            frame: Frame to transform.
            cut: Whether boxes are clipped to the view. Objects with less than a pixel left are dropped, and the
                visibility is reduced by the share that is cut off. False keeps all boxes unclipped.

        >>> ids = np.array([7, 9])
        >>> image = np.zeros((20, 40, 3), np.uint8)
        >>> frame = ImageFrame(image, np.array([[0., 0, 20, 10], [35, 5, 45, 15]]), ids, ids * 0,
        ...               np.ones(2), ids > 9, "clip", 1, (20, 40))
        >>> View((10, 0, 40, 20), (40, 60), flip=True).apply(frame).boxes_xyxy
        array([[40.,  0., 60., 20.],
               [ 0., 10., 10., 30.]])
        """
        boxes = self.boxes(frame.boxes_xyxy)
        image = self.image(frame.image)
        depth = None if frame.depth is None else self.depth(frame.depth)
        if not cut:
            return replace(frame, image=image, boxes_xyxy=boxes, depth=depth)
        inside = boxes.clip(0, np.array([self.size[1], self.size[0]] * 2))
        area = np.asarray(box_area(boxes))
        share = np.asarray(box_area(inside)) / np.where(area > 0, area, 1)
        keep = (inside[:, 2:] - inside[:, :2] >= SMALLEST_SIDE).all(1)
        seen = replace(
            frame, image=image, boxes_xyxy=inside, visibility=frame.visibility * share.clip(0, 1), depth=depth
        )
        return seen if keep.all() else seen.select(keep)

    def boxes(self, boxes_xyxy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Transform boxes ``(G, 4)`` to pixels of the view, without clipping."""
        left, top, right, bottom = self.window_xyxy
        height, width = self.size
        scale = np.array([width / (right - left), height / (bottom - top)] * 2)
        moved = (boxes_xyxy - np.array([left, top, left, top])) * scale
        if self.flip:
            moved[:, [0, 2]] = width - moved[:, [2, 0]]
        return np.asarray(moved)

    def image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Transform an image ``(H, W, 3)``."""
        return self._resample(image)

    def depth(self, depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Transform a depth map ``(H, W)``."""
        return self._resample(depth)

    def _resample(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        height, width = array.shape[:2]
        if self.window_xyxy != (0, 0, width, height) or self.size != (height, width):
            image = pillow().fromarray(array)
            array = np.asarray(image.resize(self.size[::-1], pillow().Resampling.BILINEAR, box=self.window_xyxy))
        return array[:, ::-1] if self.flip else array


def fit_size(size: tuple[int, int], short_side: int, max_long_side: int) -> tuple[int, int]:
    """Return (height, width) after resizing the shorter side to ``short_side``, within ``max_long_side``.

    Rounding follows the transforms of DETR.

    >>> fit_size((1080, 1920), 800, 1333)
    (750, 1333)
    """
    low, high = sorted(size)
    if high / low * short_side > max_long_side:
        short_side = round(max_long_side * low / high)
    short_side = max(short_side, 1)
    long_side = int(short_side * high / low)
    return (short_side, long_side) if size[0] <= size[1] else (long_side, short_side)
