"""Drawing of boxes, identities and trails on a frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mot_core.visualization.colors import identity_color, text_color

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Points = npt.NDArray[np.float64]


def draw_tracks(
    image: Image.Image,
    ids: npt.NDArray[np.int64],
    boxes_xyxy: npt.NDArray[np.float64],
    trails: Mapping[int, Points] | None = None,
    caption: str = "",
) -> Image.Image:
    """Return a copy of ``image`` with boxes in the colors of their identities, labels and trails.

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
    for row in np.argsort(boxes_xyxy[:, 3], kind="stable"):
        color = identity_color(int(ids[row]))
        box = [float(value) for value in boxes_xyxy[row]]
        draw.rectangle(box, outline=color, width=max(1, round(1.2 * unit)))
        # Small boxes often occur in crowds, where a smaller label hides less of the neighbors.
        size = min(max((box[3] - box[1]) / 60, 0.8 * unit), unit)
        _draw_label(draw, box[0], box[1], str(ids[row]), color, size)
    if caption:
        _draw_label(draw, 0.0, 0.0, caption, (30, 30, 30), 1.15 * unit)
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


def _draw_label(
    draw: ImageDraw.ImageDraw, x: float, y: float, text: str, color: tuple[int, int, int], unit: float
) -> None:
    """Draw ``text`` on a plate of ``color`` with its lower left corner at (x, y), moved into the image."""
    font = _font(max(8, round(8 * unit)))
    pad = 1.5 * unit
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    columns, rows = draw.im.size
    x = min(max(x, 0.0), columns - width)
    y = min(max(y - height, 0.0), rows - height)
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + pad - left, y + pad - top), text, fill=text_color(color), font=font)
