"""Drawing of boxes, identities and trails on a frame."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mot_core.visualization.colors import identity_color, text_color

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

CROWD = 40
"""Number of boxes above which labels are smaller, and left out where they would cover another."""
Points = npt.NDArray[np.float64]


def draw_tracks(
    image: Image.Image,
    ids: npt.NDArray[np.int64],
    boxes_xyxy: npt.NDArray[np.float64],
    trails: Mapping[int, Points] | None = None,
    caption: str = "",
) -> Image.Image:
    """Return a copy of ``image`` with boxes in the colors of their identities, labels and trails.

    A label is above its box, inside, or below it, where it covers no other label. If it fits nowhere, it covers another
    one, or is left out if there are more than ``CROWD`` boxes. Boxes in front get their places first.

    Args:
        image: Frame to draw on.
        ids: Identities of shape ``(N,)``.
        boxes_xyxy: Boxes of shape ``(N, 4)`` in pixels of ``image``.
        trails: Past positions ``(L, 2)`` in pixels of ``image`` by identity, oldest first.
        caption: Text for the upper left corner.

    >>> from PIL import Image
    >>> frame = Image.new("RGB", (60, 40), "white")
    >>> drawn = draw_tracks(frame, np.array([1]), np.array([[20.0, 15.0, 50.0, 35.0]]))
    >>> drawn.getpixel((20, 30)) == identity_color(1), frame.getpixel((20, 30))
    (True, (255, 255, 255))
    """
    from PIL import ImageDraw

    image = image.convert("RGB")  # returns a copy
    draw = ImageDraw.Draw(image, "RGBA")  # blends colors with opacity
    unit = max(image.size) / 480
    for identity, points in (trails or {}).items():
        _draw_trail(draw, points, identity_color(identity), unit)
    # Boxes with a lower bottom edge are usually closer to the camera, so they are drawn last, on top.
    order = np.argsort(boxes_xyxy[:, 3], kind="stable")
    for row in order:
        box = [float(value) for value in boxes_xyxy[row]]
        draw.rectangle(box, outline=identity_color(int(ids[row])), width=max(1, round(1.2 * unit)))
    labels = [_Label(draw, caption, (30, 30, 30), 1.15 * unit).at(0.0, 0.0)] if caption else []
    crowded = len(ids) > CROWD
    for row in order[::-1]:
        left, top, _, bottom = (float(value) for value in boxes_xyxy[row])
        # Small boxes often occur in crowds, where a smaller label hides less of the neighbors.
        size = min(max((bottom - top) / 60, 0.8 * unit), unit) * (0.8 if crowded else 1.0)
        label = _Label(draw, str(ids[row]), identity_color(int(ids[row])), size)
        places = [label.at(left, top), label.at(left, top + label.height), label.at(left, bottom + label.height)]
        free = [place for place in places if not any(place.overlaps(other) for other in labels)]
        if free or not crowded:
            labels.append((free or places)[0])
    for label in labels[::-1]:
        label.draw()
    return image


def _draw_trail(draw: ImageDraw.ImageDraw, points: Points, color: tuple[int, int, int], unit: float) -> None:
    """Draw a line that fades into the past."""
    for step, (start, end) in enumerate(pairwise(points), start=1):
        opacity = round(60 + 195 * step / len(points))
        draw.line([*start.tolist(), *end.tolist()], fill=(*color, opacity), width=max(1, round(1.5 * unit)))


@lru_cache(maxsize=64)  # decoding the font takes longer than drawing the frame
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


class _Label:
    """Text on a plate of a color, with its lower left corner at (x, y), moved into the image."""

    def __init__(self, canvas: ImageDraw.ImageDraw, text: str, color: tuple[int, int, int], unit: float) -> None:
        self.canvas, self.text, self.color = canvas, text, color
        self.font = _font(max(8, round(8 * unit)))
        self.pad = 1.5 * unit
        left, top, right, bottom = canvas.textbbox((0, 0), text, font=self.font)
        self.origin = left, top
        self.width, self.height = right - left + 2 * self.pad, bottom - top + 2 * self.pad
        self.x = self.y = 0.0

    def at(self, x: float, y: float) -> _Label:
        """Return the label at a position."""
        label = copy(self)
        columns, rows = self.canvas.im.size
        label.x = min(max(x, 0.0), columns - self.width)
        label.y = min(max(y - self.height, 0.0), rows - self.height)
        return label

    def overlaps(self, other: _Label) -> bool:
        """Return whether two labels cover each other."""
        beyond = self.x >= other.x + other.width or other.x >= self.x + self.width
        return not (beyond or self.y >= other.y + other.height or other.y >= self.y + self.height)

    def draw(self) -> None:
        """Draw plate and text."""
        self.canvas.rectangle((self.x, self.y, self.x + self.width, self.y + self.height), fill=self.color)
        corner = self.x + self.pad - self.origin[0], self.y + self.pad - self.origin[1]
        self.canvas.text(corner, self.text, fill=text_color(self.color), font=self.font)
