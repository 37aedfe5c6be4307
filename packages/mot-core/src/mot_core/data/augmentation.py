"""Random geometric and color augmentation of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mot_core.data.color import ColorChange
from mot_core.data.geometry import View, fit_size
from mot_core.data.image_frame import ImageFrame
from mot_core.io.images import MAX_PIXELS

Size = tuple[int, int]


@dataclass(frozen=True)
class Augmentation:
    """Random transform, drawn once per clip and applied to all of its frames. The default changes nothing.

    Args:
        short_sides: Lengths in pixels to which the shorter side is resized; one is drawn per clip. Empty: no resizing.
        max_long_side: Upper limit of the longer side after resizing, in pixels.
        flip: Probability of a horizontal flip.
        crop: Probability of a random crop. The image is resized to one of ``crop_short_sides``, then height and width
            of the crop are drawn from ``crop_sides``, and its position within the image.
        crop_short_sides: Lengths in pixels of the shorter side before cropping.
        crop_sides: Smallest and largest side of a crop in pixels.
        hue: Largest hue rotation as a fraction of the color circle, at most 0.5.
        saturation: Largest relative change of saturation; 0.4 draws a factor from 0.6 to 1.4.
        brightness: Largest relative change of brightness, like ``saturation``.
        contrast: Largest relative change of contrast, like ``saturation``.
        shift: For clips made of a still image, largest movement of the view as a fraction of width and height.

    Settings of MOTIP: ``Augmentation((480, 512, ..., 800), 1440, flip=0.5, crop=0.5, hue=0.2, saturation=0.4,
    brightness=0.4, contrast=0.4)``.

    Raises:
        ValueError: If a value is out of range.

    >>> augmentation = Augmentation(short_sides=(400, 600), max_long_side=900, flip=0.5)
    >>> augmentation.views((1080, 1920), 2, np.random.default_rng(1))[1]
    View(window_xyxy=(0.0, 0.0, 1920.0, 1080.0), size=(506, 899), flip=True)
    """

    short_sides: tuple[int, ...] = ()
    max_long_side: int = 1440
    flip: float = 0.0
    crop: float = 0.0
    crop_short_sides: tuple[int, ...] = (400, 500, 600)
    crop_sides: tuple[int, int] = (384, 600)
    hue: float = 0.0
    saturation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    shift: float = 0.2

    def __post_init__(self) -> None:
        for name, most in (("flip", 1), ("crop", 1), ("hue", 0.5), ("shift", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"Augmentation: expected {name} in [0, {most}], got {getattr(self, name)}")
        for name in ("saturation", "brightness", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"Augmentation: expected {name} in [0, 1), got {getattr(self, name)}")
        sides = (*self.short_sides, *self.crop_short_sides, *self.crop_sides, self.max_long_side)
        if min(sides) < 1 or (self.crop and not self.crop_short_sides) or self.crop_sides[0] > self.crop_sides[1]:
            raise ValueError(f"Augmentation: expected sides of at least 1 pixel in ascending ranges, got {self}")

    def for_evaluation(self) -> Augmentation:
        """Return the resizing to the largest size without anything random, for frames that are only tracked.

        >>> Augmentation((480, 640, 800), 1440, flip=0.5).for_evaluation().short_sides
        (800,)
        """
        return Augmentation((max(self.short_sides),) if self.short_sides else (), self.max_long_side)

    def __call__(
        self, frames: Sequence[ImageFrame], rng: np.random.Generator, *, still: bool = False, cut: bool = True
    ) -> list[ImageFrame]:
        """Transform the frames of a clip.

        Args:
            frames: Frames of equal size.
            rng: Random generator of this clip.
            still: Whether all frames are the same image, over which the view moves.
            cut: Whether boxes are clipped to the image.

        Raises:
            ValueError: If the frames have different sizes.
        """
        for frame in frames:
            if frame.image_size != frames[0].image_size:
                raise ValueError(
                    f"frame {frame.number} of {frame.sequence}: expected "
                    f"{frames[0].image_size[1]}x{frames[0].image_size[0]} as in frame {frames[0].number}, got "
                    f"{frame.image_size[1]}x{frame.image_size[0]}; use one size per sequence"
                )
        views = self.views(frames[0].image_size, len(frames), rng, still)
        colors = self.colors(rng)
        seen = [view.apply(frame, cut=cut) for view, frame in zip(views, frames, strict=True)]
        if colors is None:
            return seen
        colors = replace(colors, grey=float(seen[0].image.mean()))
        return [replace(frame, image=colors.apply(frame.image)) for frame in seen]

    def views(self, size: Size, num_frames: int, rng: np.random.Generator, still: bool = False) -> list[View]:
        """Draw a view of images of ``size`` (height, width) for all frames; a moving one for stills.

        Raises:
            ValueError: If the views have more than ``mot_core.io.images.MAX_PIXELS`` pixels.
        """
        height, width = size
        window = np.array([0.0, 0.0, width, height])
        if rng.random() < self.crop:
            window = self._crop(size, rng)
        windows = [window] * num_frames
        if still:
            windows = _moving(window, self.shift, num_frames, rng)
        shape = windows[0][3] - windows[0][1], windows[0][2] - windows[0][0]
        target = max(round(shape[0]), 1), max(round(shape[1]), 1)
        if self.short_sides:
            target = fit_size(target, int(rng.choice(self.short_sides)), self.max_long_side)
            if target[0] * target[1] > MAX_PIXELS:
                raise ValueError(
                    f"resize: expected frames of at most {MAX_PIXELS} pixels, got {target[1]}x{target[0]} from "
                    f"{width}x{height}; choose smaller sides"
                )
        flip = bool(rng.random() < self.flip)
        return [View((float(x0), float(y0), float(x1), float(y1)), target, flip) for x0, y0, x1, y1 in windows]

    def colors(self, rng: np.random.Generator) -> ColorChange | None:
        """Draw a color change, or return None if all limits are 0."""
        limits = np.array([self.hue, self.saturation, self.brightness, self.contrast])
        if not limits.any():
            return None
        hue, *factors = rng.uniform(-limits, limits)
        return ColorChange(float(hue), *(1 + float(factor) for factor in factors))

    def _crop(self, size: Size, rng: np.random.Generator) -> np.ndarray:
        resized = fit_size(size, int(rng.choice(self.crop_short_sides)), 10**9)
        scale = np.array(size) / resized
        sides = [
            int(rng.integers(min(self.crop_sides[0], most), min(self.crop_sides[1], most) + 1)) for most in resized
        ]
        top, left = (int(rng.integers(most - side + 1)) for most, side in zip(resized, sides, strict=True))
        window = np.array([left, top, left + sides[1], top + sides[0]]) * np.tile(scale[::-1], 2)
        return window.clip(0, np.tile(size[::-1], 2))  # removes rounding errors


def _moving(window: np.ndarray, shift: float, num_frames: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return windows that move at constant speed between two random positions within ``window``."""
    space = shift * (window[2:] - window[:2])
    begin, end = rng.random((2, 2)) * space
    times = np.linspace(0, 1, num_frames)[:, None]
    corners = window[:2] + begin + times * (end - begin)
    size = window[2:] - window[:2] - space
    return list(np.concatenate([corners, corners + size], 1))
