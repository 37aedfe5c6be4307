"""Color change of all frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mot_core.data.decode import pillow


@dataclass(frozen=True)
class ColorChange:
    """Color change: hue, saturation and brightness in HSV, then contrast.

    Attributes:
        hue: Rotation of the color circle, from -0.5 to 0.5 of a full turn.
        saturation: Factor of the saturation.
        brightness: Factor of the brightness.
        contrast: Factor of the difference to ``grey``.
        grey: Mean value of the clip, from 0 to 255.

    >>> red = np.full((1, 1, 3), (200, 0, 0), np.uint8)
    >>> ColorChange(hue=1 / 3, brightness=0.5).apply(red)
    array([[[  0, 100,   0]]], dtype=uint8)
    """

    hue: float = 0.0
    saturation: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    grey: float = 127.5

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Apply the color change to an image ``(H, W, 3)``."""
        values = np.arange(256)
        if (self.hue, self.saturation, self.brightness) != (0, 1, 1):
            hue = (values + round(256 * self.hue)) % 256
            table = np.concatenate([hue, values * self.saturation, values * self.brightness])
            hsv = pillow().fromarray(np.ascontiguousarray(image)).convert("HSV")
            image = np.asarray(hsv.point(_bytes(table)).convert("RGB"))
        if self.contrast != 1:
            image = np.array(_bytes(self.grey + self.contrast * (values - self.grey)), np.uint8)[image]
        return image


def _bytes(values: npt.NDArray[np.floating]) -> list[int]:
    return values.round().clip(0, 255).astype(int).tolist()
