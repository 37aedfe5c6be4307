"""Resizing of an image to the input size of a network, and of its boxes back to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mot_core.detectors.protocol import Image

Placement = Literal["corner", "center", "stretch"]


@dataclass(frozen=True)
class Letterbox:
    """Position of an image within the input of a network.

    Attributes:
        pixels: Resized and padded image, ``(height, width, 3)`` float32 with values from 0 to 255.
        scale: Factors of x and y.
        offset: Left and top padding in pixels of the input.
        image_size: Height and width of the image.
    """

    pixels: npt.NDArray[np.float32]
    scale: tuple[float, float]
    offset: tuple[int, int]
    image_size: tuple[int, int]

    def to_image(self, boxes_xyxy: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return boxes ``(N, 4)`` in pixels of the image from boxes in pixels of the input."""
        shift = np.array([*self.offset, *self.offset], np.float64)
        return np.asarray((boxes_xyxy - shift) / np.array([*self.scale, *self.scale]))


def letterbox(image: Image, size: tuple[int, int], placement: Placement, fill: int = 114) -> Letterbox:
    """Resize an image bilinearly to an input size.

    Args:
        image: Image ``(H, W, 3)`` uint8.
        size: Height and width of the input.
        placement: ``"corner"`` keeps the aspect ratio and pads right and bottom, ``"center"`` pads both sides equally,
            and ``"stretch"`` changes the aspect ratio.
        fill: Gray value of the padding.

    >>> box = letterbox(np.zeros((40, 80, 3), np.uint8), (20, 20), "center")
    >>> box.scale, box.offset, box.to_image(np.array([[0, 5, 20, 15]]))
    ((0.25, 0.25), (0, 5), array([[ 0.,  0., 80., 40.]]))
    """
    import torch
    from torch.nn.functional import interpolate

    height, width = image.shape[:2]
    if placement == "stretch":
        rows, columns = size
    else:
        factor = min(size[0] / height, size[1] / width)
        rows, columns = max(round(height * factor), 1), max(round(width * factor), 1)
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    if (rows, columns) != (height, width):
        tensor = interpolate(tensor, (rows, columns), mode="bilinear", align_corners=False)
    resized = tensor[0].permute(1, 2, 0).numpy()
    top, left = ((size[0] - rows) // 2, (size[1] - columns) // 2) if placement == "center" else (0, 0)
    pixels = np.full((*size, 3), fill, np.float32)
    pixels[top : top + rows, left : left + columns] = resized
    return Letterbox(pixels, (columns / width, rows / height), (left, top), (height, width))
