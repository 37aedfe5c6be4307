"""Synthetic videos rendered on the fly, with identities, occlusions and depth."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mot_core.data.decode import pillow
from mot_core.data.image_frame import ImageFrame
from mot_core.data.sprites import Scene
from mot_core.io import BoxTable, write_mot
from mot_core.io.seqinfo import SeqInfo, write_seqinfo

SPLITS = ("train", "val", "test")
MIN_VISIBILITY = 0.15  # below it, an object is ignored
FRAME_RATE = 25.0


class SyntheticVideo:
    """Rendered videos of textured figures that move, cross, occlude each other, enter and leave.

    A :class:`~mot_core.data.FrameSource`. A video depends on seed, split and its index only. The ``n`` figures of a
    video are spaced by ``1 / n`` of the color circle in hue. Boxes are clipped to the image; objects with a visible
    share below 15 % are ignored.

    Args:
        num_videos: Number of videos; they need no memory.
        num_frames: Frames per video.
        image_size: Height and width in pixels, at least 32.
        num_objects: Smallest and largest number of figures per video.
        split: ``"train"``, ``"val"`` or ``"test"``; splits share no video.
        seed: Seed for all random draws.
        with_depth: Whether depth maps are rendered too.
        frame_step: Scene frames from one video frame to the next; higher values make figures move farther between
            frames. With 1 (25 frames per second), association by motion alone makes few errors; with 8, many.
        likeness: How much the figures of a video look alike, from 0 (colors all around the color circle) to 1 (equal
            shape, colors, pattern and size, so that only position and depth distinguish them; they appear larger
            when they are nearer).

    Raises:
        ValueError: If a value is out of range.

    >>> video = SyntheticVideo(num_videos=2, num_frames=10, num_objects=(3, 3), split="val")
    >>> (frame,) = video.read(1, [9])
    >>> frame.image.shape, frame.ids, frame.number
    ((96, 160, 3), array([1, 2, 3]), 10)
    """

    def __init__(
        self,
        num_videos: int = 1000,
        num_frames: int = 30,
        image_size: tuple[int, int] = (96, 160),
        num_objects: tuple[int, int] = (2, 5),
        split: Literal["train", "val", "test"] = "train",
        seed: int = 0,
        with_depth: bool = False,
        frame_step: int = 1,
        likeness: float = 0.0,
    ) -> None:
        if not 0 <= likeness <= 1:
            raise ValueError(f"likeness: expected a number from 0 to 1, got {likeness}")
        for name, value in (("num_videos", num_videos), ("num_frames", num_frames), ("frame_step", frame_step)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if min(image_size) < 32:
            raise ValueError(f"image_size: expected (height, width) of at least 32 pixels, got {image_size}")
        if not 0 <= num_objects[0] <= num_objects[1]:
            raise ValueError(f"num_objects: expected the smallest and largest number of figures, got {num_objects}")
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        self.num_videos = num_videos
        self.num_frames = num_frames
        self.image_size = image_size
        self.num_objects = num_objects
        self.split = split
        self.seed = seed
        self.with_depth = with_depth
        self.frame_step = frame_step
        self.likeness = likeness

    @property
    def names(self) -> npt.NDArray[np.str_]:
        """Name of each video, ``(V,)``."""
        return np.array([f"synthetic-{self.split}-{self.seed}-{video}" for video in range(self.num_videos)])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of frames of each video, ``(V,)``."""
        return np.full(self.num_videos, self.num_frames, np.int64)

    def read(self, video: int, positions: Sequence[int]) -> list[ImageFrame]:
        """Render the frames of a video at zero-based positions."""
        if not (0 <= video < self.num_videos and all(0 <= position < self.num_frames for position in positions)):
            raise IndexError(
                f"video {video}, frames {positions}: expected one of {self.num_videos} videos of "
                f"{self.num_frames} frames"
            )
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), video))
        count = int(rng.integers(self.num_objects[0], self.num_objects[1] + 1))
        scene = Scene(count, self.num_frames * self.frame_step, self.image_size, rng, self.likeness)
        return [self._frame(scene, video, position) for position in positions]

    def _frame(self, scene: Scene, video: int, position: int) -> ImageFrame:
        moment = position * self.frame_step
        drawn = scene.render(moment)
        height, width = self.image_size
        boxes = drawn.boxes_xyxy.clip(0, [width, height, width, height])
        rows = np.array([figure.present[moment] for figure in scene.figures], bool)
        rows &= (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        ignore = drawn.visibility < MIN_VISIBILITY
        ids = np.arange(1, len(boxes) + 1)
        return ImageFrame(
            image=drawn.image,
            boxes_xyxy=boxes[rows],
            ids=np.where(ignore, -1, ids)[rows],
            labels=np.zeros(int(rows.sum()), np.int64),
            visibility=drawn.visibility[rows],
            ignore=ignore[rows],
            sequence=f"synthetic-{self.split}-{self.seed}-{video}",
            number=position + 1,
            original_size=self.image_size,
            depth=drawn.depth if self.with_depth else None,
        )

    def save(self, root: str | PathLike[str], video: int) -> Path:
        """Write a video as a sequence in the MOTChallenge layout: ``img1``, ``gt/gt.txt``, ``seqinfo.ini``, ``depth``.

        Ignored objects are excluded from the ground truth.

        Returns:
            The folder ``root/NAME``.

        >>> import tempfile
        >>> folder = SyntheticVideo(num_videos=1, num_frames=2).save(tempfile.mkdtemp(), 0)
        >>> folder.name, sorted(path.name for path in folder.rglob("*.*"))
        ('synthetic-train-0-0', ['000001.png', '000002.png', 'gt.txt', 'seqinfo.ini'])
        """
        folder = Path(root) / f"synthetic-{self.split}-{self.seed}-{video}"
        tables = []
        for frame in self.read(video, range(self.num_frames)):
            pictures = {"img1": frame.image}
            if frame.depth is not None:
                pictures["depth"] = frame.depth.round().astype(np.uint8)
            for name, pixels in pictures.items():
                path = folder / name / f"{frame.number:06d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pillow().fromarray(pixels).save(path)
            tables.append(_table(frame.select(~frame.ignore)))
        write_mot(folder / "gt" / "gt.txt", BoxTable.concatenate(tables), kind="ground_truth")
        info = SeqInfo(
            name=folder.name,
            frame_rate=FRAME_RATE / self.frame_step,
            length=self.num_frames,
            image_size=self.image_size,
            image_ext=".png",
        )
        write_seqinfo(folder / "seqinfo.ini", info)
        return folder


def _table(frame: ImageFrame) -> BoxTable:
    count = len(frame.ids)
    ones = np.ones(count)
    return BoxTable(
        np.full(count, frame.number), frame.ids, frame.boxes_xyxy, ones, ones.astype(np.int64), frame.visibility
    )
