"""Datasets: random clips for training, and frames in order for evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from mot_core.data.augmentation import Augmentation
from mot_core.data.image_frame import FrameSource, ImageFrame
from mot_core.data.sampling import ClipKey, ClipSampling


class ClipDataset(Dataset[list[ImageFrame]]):
    """Training clips of a source of frames.

    A clip depends on seed, epoch and index only, not on the worker process that prepares it.

    Args:
        source: Videos and still images.
        sampling: Selection of the frames of a clip.
        augmentation: Augmentation of the clips. None: no augmentation.
        seed: Seed for all random draws.

    Raises:
        ValueError: If a video is shorter than a clip.

    >>> from mot_core.data import SyntheticVideo
    >>> dataset = ClipDataset(SyntheticVideo(num_videos=2, num_frames=10), ClipSampling(4, max_interval=3))
    >>> len(dataset), [frame.number for frame in dataset[(0, 1)]]  # epoch and index
    (14, [2, 4, 6, 8])
    """

    def __init__(
        self,
        source: FrameSource,
        sampling: ClipSampling,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.sampling = sampling
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self.lengths = source.lengths
        windows = sampling.num_windows(self.lengths)
        short = np.flatnonzero(windows == 0)
        if len(short):
            raise ValueError(
                f"{source.names[short[0]]}: expected at least {sampling.longest} frames for a clip, got "
                f"{self.lengths[short[0]]} ({len(short)} of {len(windows)} sequences); use shorter clips, or remove it"
            )
        self.ends = np.cumsum(windows)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, key: ClipKey | int) -> list[ImageFrame]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected a clip below {len(self)}, got {index}")
        rng = np.random.default_rng((self.seed, epoch, index))
        video = int(np.searchsorted(self.ends, index, side="right"))
        window = index - (int(self.ends[video - 1]) if video else 0)
        length = int(self.lengths[video])
        positions = self.sampling.positions(length, window, epoch, rng)
        if length:
            return self.augmentation(self.source.read(video, positions), rng)
        (image,) = self.source.read(video, [0])
        frames = [replace(image, number=number) for number in range(1, len(positions) + 1)]
        return self.augmentation(frames, rng, still=True)


class FrameDataset(Dataset[list[ImageFrame]]):
    """Every frame of a source in order, as clips of one frame, for validation, test and prediction.

    Boxes are not clipped to the image, so that the ground truth equals that of the files.

    Args:
        source: Videos; a still image is a video of one frame.
        resize: Deterministic transform of every frame. None: no resizing.

    >>> from mot_core.data import SyntheticVideo
    >>> dataset = FrameDataset(SyntheticVideo(num_videos=2, num_frames=10))
    >>> len(dataset), dataset[11][0].sequence, dataset[11][0].number
    (20, 'synthetic-train-0-1', 2)
    """

    def __init__(self, source: FrameSource, resize: Augmentation | None = None) -> None:
        self.source = source
        self.resize = resize or Augmentation()
        self.lengths = source.lengths.clip(1)
        self.ends = np.cumsum(self.lengths)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, key: ClipKey | int) -> list[ImageFrame]:
        index = key[1] if isinstance(key, tuple) else key
        if not 0 <= index < len(self):
            raise IndexError(f"index: expected a frame below {len(self)}, got {index}")
        video = int(np.searchsorted(self.ends, index, side="right"))
        position = index - (int(self.ends[video - 1]) if video else 0)
        return self.resize(self.source.read(video, [position]), np.random.default_rng(0), cut=False)
