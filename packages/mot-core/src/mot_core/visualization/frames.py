"""Frames of a sequence with tracks drawn on them, on a plain canvas if there are no images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mot_core.io.images import MAX_PIXELS, read_image, read_image_size
from mot_core.visualization.drawing import draw_tracks
from mot_core.visualization.paths import path_between, paths_by_identity

if TYPE_CHECKING:
    from PIL import Image

    from mot_core.io import BoxTable, Sequence

Images: TypeAlias = Callable[[int], Any]
"""Function that reads the frame with a given number, ``(H, W, 3)`` uint8."""

CANVAS, BORDER = (244, 244, 242), (170, 170, 168)
SMALLEST_SIDE = 960


class TrackedFrames:
    """Draw the frames of ``sequence`` with ``tracks``, one at a time.

    Args:
        sequence: Sequence with the images. Without images, boxes are drawn on a plain canvas.
        tracks: Rows of a result or of a ground truth.
        tail: Length of the trail behind a box in seconds.
        magnify: Scale factor; 0 enlarges frames with a longer side below 960 pixels to keep labels readable.
        images: Function that reads the frames, if they are not files of the sequence.

    Raises:
        ValueError: If a frame has more than ``mot_core.io.images.MAX_PIXELS`` pixels.
    """

    def __init__(
        self,
        sequence: Sequence,
        tracks: BoxTable,
        *,
        tail: float = 1.0,
        magnify: float = 0,
        images: Images | None = None,
    ) -> None:
        self.sequence = sequence
        self.images = images
        self.tracks = tracks
        height, width = sequence.image_size or _first_image_size(sequence) or _extent(tracks)
        if height * width > MAX_PIXELS:
            raise ValueError(
                f"{sequence.name}: expected pictures of at most {MAX_PIXELS} pixels, got {width}x{height} from "
                "seqinfo.ini or the boxes; correct the image size in seqinfo.ini, or leave out the pictures"
            )
        self.scale = magnify or max(1, round(SMALLEST_SIDE / max(height, width)))
        # Even sizes, because video codecs share one color value among 2x2 pixels.
        self.size = 2 * round(width * self.scale / 2), 2 * round(height * self.scale / 2)
        self.tail = round(tail * (sequence.frame_rate or 30.0))
        self.paths = paths_by_identity(tracks)

    def draw(self, frame: int) -> Image.Image:
        """Draw frame number ``frame`` (as in the files) with its boxes, trails and a caption."""
        rows = self.tracks.frame(frame)
        ids, boxes = self.tracks.ids[rows], self.tracks.boxes_xyxy[rows]
        trails = {i: path_between(self.paths[i], frame - self.tail, frame) * self.scale for i in ids.tolist()}
        caption = f"{self.sequence.name}  {frame}"
        return draw_tracks(self._background(frame), ids, boxes * self.scale, trails, caption)

    def _background(self, frame: int) -> Image.Image:
        from PIL import Image, ImageDraw

        if self.images is not None:
            return Image.fromarray(self.images(frame)).resize(self.size, Image.Resampling.BILINEAR)
        path = self.sequence.image_path(frame)
        if path is None:
            canvas = Image.new("RGB", self.size, CANVAS)
            ImageDraw.Draw(canvas).rectangle((0, 0, self.size[0] - 1, self.size[1] - 1), outline=BORDER, width=2)
            return canvas
        return Image.fromarray(read_image(path)).resize(self.size, Image.Resampling.BILINEAR)


def has_images(sequence: Sequence) -> bool:
    """Return whether the first frame of the sequence exists as an image."""
    return sequence.image_path(sequence.first_frame) is not None


def _first_image_size(sequence: Sequence) -> tuple[int, int] | None:
    path = sequence.image_path(sequence.first_frame)
    return None if path is None else read_image_size(path)


def _extent(tracks: BoxTable) -> tuple[int, int]:
    """Return (height, width) of the smallest image that contains every box."""
    if not len(tracks):
        return 1080, 1920
    width, height = np.maximum(tracks.boxes_xyxy[:, 2:].max(0), 16.0)
    return int(np.ceil(height)), int(np.ceil(width))
