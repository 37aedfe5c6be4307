"""Scene of a synthetic video: textured figures that move, cross and occlude each other."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mot_core.data.decode import pillow

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

SHAPES = 3  # box, ellipse, diamond: each touches all four sides of its bounding box
SIDES = (0.22, 0.40)  # sides of a figure as a fraction of the shorter side of the image
SPEEDS = (0.003, 0.015)  # speeds as a fraction of the longer side per frame
NOISE = 9  # gray levels of camera noise
FAR, NEAR = 80.0, 250.0  # depth range of figures; the background is farther away


@dataclass(frozen=True)
class Figure:
    """One moving object.

    Attributes:
        shape: Index of the shape, from 0 to ``SHAPES - 1``.
        colors: ``(2, 3)`` RGB colors of the pattern.
        waves: ``(2, 2)`` frequencies along x and y of the two waves of the pattern.
        centers: ``(T, 2)`` x and y in pixels.
        sides: ``(T, 2)`` width and height in pixels.
        depths: ``(T,)`` depths, from ``FAR`` to ``NEAR``.
        present: ``(T,)`` bool, whether the object is in the scene.
    """

    shape: int
    colors: Bytes
    waves: Floats
    centers: Floats
    sides: Floats
    depths: Floats
    present: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rendered:
    """A rendered frame of a scene with ``S`` figures.

    Attributes:
        image: ``(H, W, 3)`` uint8.
        depth: ``(H, W)`` float32.
        boxes_xyxy: ``(S, 4)`` boxes in pixels, not clipped to the image.
        visibility: ``(S,)`` share of the pixels of a figure that is neither occluded nor outside the image.
    """

    image: Bytes
    depth: npt.NDArray[np.float32]
    boxes_xyxy: Floats
    visibility: Floats


class Scene:
    """Random figures in front of a background.

    Args:
        num_figures: Number of figures.
        num_frames: Number of frames ``T``.
        image_size: Height and width in pixels.
        rng: Random generator for the whole scene.
        likeness: From 0 to 1, how much colors, pattern, shape and size of the figures resemble those of the first.
    """

    def __init__(
        self,
        num_figures: int,
        num_frames: int,
        image_size: tuple[int, int],
        rng: np.random.Generator,
        likeness: float = 0.0,
    ) -> None:
        self.image_size = image_size
        self.background = _background(image_size, rng)
        first_hue = rng.random()
        self.figures = [
            _figure(num_frames, image_size, first_hue + number / num_figures, rng) for number in range(num_figures)
        ]
        if likeness:
            self.figures = [_resembling(figure, self.figures[0], likeness) for figure in self.figures]
        self.noise_seed = int(rng.integers(2**32))

    def render(self, position: int) -> Rendered:
        """Render the frame at a zero-based position."""
        height, width = self.image_size
        image = self.background.copy()
        depth = np.repeat(np.linspace(0, FAR - 20, height, dtype=np.float32)[:, None], width, 1)
        owner = np.full(self.image_size, -1, np.int16)
        pixels = np.zeros(len(self.figures))
        boxes = np.zeros((len(self.figures), 4))
        order = sorted(range(len(self.figures)), key=lambda number: self.figures[number].depths[position])
        for number in order:  # far to near
            figure = self.figures[number]
            half = figure.sides[position] / 2
            boxes[number] = np.concatenate([figure.centers[position] - half, figure.centers[position] + half])
            if not figure.present[position]:
                continue
            x0, y0 = np.floor(boxes[number, :2]).astype(int)
            x1, y1 = np.ceil(boxes[number, 2:]).astype(int)
            covered, colors = _paint(figure, boxes[number], (x0, y0, x1, y1))
            pixels[number] = covered.sum()
            left, top = max(x0, 0), max(y0, 0)
            right, bottom = min(x1, width), min(y1, height)
            if left >= right or top >= bottom:
                continue
            inside = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
            here = (slice(top, bottom), slice(left, right))
            mask = covered[inside]
            image[here][mask] = colors[inside][mask]
            owner[here][mask] = number
            depth[here][mask] = figure.depths[position]
        seen = np.bincount(owner.ravel() + 1, minlength=len(self.figures) + 1)[1:]
        rng = np.random.default_rng((self.noise_seed, position))
        image += rng.integers(
            0, NOISE, image.shape, np.uint8
        )  # colors are below 256 - NOISE, so that the sum does not overflow
        return Rendered(image, depth, boxes, seen / np.maximum(pixels, 1))


def _paint(figure: Figure, box: Floats, pixels: tuple[int, int, int, int]) -> tuple[npt.NDArray[np.bool_], Bytes]:
    """Return the mask of covered pixels in a window (left, top, right, bottom), and their colors."""
    x0, y0, x1, y1 = pixels
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    u = ((np.arange(x0, x1) + 0.5 - center[0]) / half[0])[None, :]  # -1 to 1 within the figure
    v = ((np.arange(y0, y1) + 0.5 - center[1]) / half[1])[:, None]
    if figure.shape == 0:
        covered = np.maximum(abs(u), abs(v)) <= 1
    elif figure.shape == 1:
        covered = u * u + v * v <= 1
    else:
        covered = abs(u) + abs(v) <= 1
    (a, b), (c, d) = figure.waves
    pattern = np.sin(a * u + b * v) * np.cos(c * u + d * v) > 0
    return covered, figure.colors[pattern.astype(np.intp)]


def _figure(num_frames: int, image_size: tuple[int, int], hue: float, rng: np.random.Generator) -> Figure:
    height, width = image_size
    times = np.arange(num_frames)
    depths = FAR + (NEAR - FAR) * (0.5 + 0.5 * np.sin(rng.uniform(0, 2 * np.pi) + times * rng.uniform(-0.05, 0.05)))
    sides = min(image_size) * rng.uniform(*SIDES, 2)
    speed = max(image_size) * rng.uniform(*SPEEDS)
    angle = rng.uniform(0, 2 * np.pi) + 0.6 * np.sin(rng.uniform(0, 2 * np.pi) + times * rng.uniform(0.02, 0.15))
    steps = speed * np.stack([np.cos(angle), np.sin(angle)], 1)
    centers = np.array([width, height]) * rng.random(2) + np.cumsum(steps, 0)
    present = np.ones(num_frames, bool)
    if rng.random() < 0.3:  # enters late or leaves early
        cut = int(rng.integers(num_frames))
        present = times >= cut if rng.random() < 0.5 else times <= cut
    colors = [
        colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.75, 1), rng.uniform(0.8, 1)),
        colorsys.hsv_to_rgb((hue + rng.uniform(-0.1, 0.1)) % 1, rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.6)),
    ]
    return Figure(
        shape=int(rng.integers(SHAPES)),
        colors=(np.array(colors) * (255 - NOISE)).astype(np.uint8),
        waves=rng.uniform(1, 6, (2, 2)),
        centers=_fold(centers, np.array([width, height], np.float64)),
        sides=np.outer(_scale(depths), sides),
        depths=depths,
        present=present,
    )


def _resembling(figure: Figure, model: Figure, likeness: float) -> Figure:
    """Return a figure with the shape of another, and with colors, pattern and size at equal depth in between."""
    colors = (1 - likeness) * figure.colors.astype(np.float64) + likeness * model.colors
    waves = (1 - likeness) * figure.waves + likeness * model.waves
    own, other = (one.sides[0] / _scale(one.depths[0]) for one in (figure, model))
    sides = np.outer(_scale(figure.depths), (1 - likeness) * own + likeness * other)
    return replace(figure, shape=model.shape, colors=colors.round().astype(np.uint8), waves=waves, sides=sides)


def _scale(depths: Floats) -> Floats:
    """Return the size of figures at some depths as a multiple of their size in the middle."""
    return np.asarray(0.75 + 0.5 * (depths - FAR) / (NEAR - FAR))


def _fold(centers: Floats, size: Floats) -> Floats:
    """Reflect centers at the borders, so that they stay in the image."""
    return size - abs(centers % (2 * size) - size)


def _background(image_size: tuple[int, int], rng: np.random.Generator) -> Bytes:
    """Draw a background of smooth, unsaturated blobs."""
    low = rng.integers(60, 150, (6, 8, 1), np.uint8) + rng.integers(0, 40, (6, 8, 3), np.uint8)
    smooth = pillow().fromarray(low).resize(image_size[::-1], pillow().Resampling.BICUBIC)
    return np.asarray(smooth).clip(0, 255 - NOISE)
