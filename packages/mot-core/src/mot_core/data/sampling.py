"""Selection of the frames of a clip, and order of the clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, DistributedSampler

ClipKey: TypeAlias = tuple[int, int]
"""Epoch and index, the key of a clip in a dataset; the epoch reaches worker processes in the key."""


class ClipSampling:
    """Clip lengths by epoch and intervals between the frames of a clip.

    An epoch has one clip per window of the longest length (every ``stride`` frames); a shorter clip has a random
    position in its window. The number of clips is therefore the same in every epoch.

    Args:
        length: Frames per clip, or a schedule ``{first epoch: length}`` that starts with epoch 0.
        max_interval: Largest interval between the frames of a clip, in frames. The interval is drawn from 1 to this
            value per clip, or to less near the end of a sequence.
        stride: Frames between the starts of consecutive windows. If above 1, clip starts are drawn within the stride.

    Raises:
        ValueError: If a value is out of range.

    >>> sampling = ClipSampling({0: 2, 50: 3, 90: 4})
    >>> [sampling.length(epoch) for epoch in (0, 49, 50, 200)]
    [2, 2, 3, 4]
    >>> ClipSampling(4, max_interval=10).positions(100, 7, 0, np.random.default_rng(0))
    [7, 16, 25, 34]
    """

    def __init__(self, length: int | Mapping[int, int] = 1, max_interval: int = 1, stride: int = 1) -> None:
        self.schedule = dict(sorted(length.items())) if isinstance(length, Mapping) else {0: length}
        if not self.schedule or next(iter(self.schedule)) != 0:
            raise ValueError(f"clip length: expected a schedule that starts with epoch 0, got {self.schedule}")
        shortest = min(self.schedule.values())
        for name, value in (("clip length", shortest), ("max_interval", max_interval), ("stride", stride)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1 frame, got {value}")
        self.max_interval = max_interval
        self.stride = stride

    @property
    def longest(self) -> int:
        """Largest clip length of the schedule."""
        return max(self.schedule.values())

    def length(self, epoch: int) -> int:
        """Return the clip length of an epoch."""
        return self.schedule[max(first for first in self.schedule if first <= epoch)]

    def num_windows(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of clips per epoch for video lengths ``(V,)``; a still image (0) has one.

        >>> ClipSampling(4, stride=2).num_windows(np.array([3, 4, 5, 6, 0]))
        array([0, 1, 1, 2, 1])
        """
        starts = lengths - self.longest + 1
        return np.where(lengths == 0, 1, -(-starts.clip(0) // self.stride))

    def positions(self, video_length: int, window: int, epoch: int, rng: np.random.Generator) -> list[int]:
        """Draw the frames of a clip, as positions in its video.

        Args:
            video_length: Number of frames of the video, at least the longest clip. 0 marks a still image.
            window: Index of the window, from 0 to ``num_windows - 1``.
            epoch: Epoch, which selects the clip length.
            rng: Random generator for start and interval.
        """
        length = self.length(epoch)
        if video_length == 0:
            return [0] * length
        last_start = video_length - self.longest
        start = window * self.stride
        start += int(rng.integers(min(self.stride, last_start - start + 1)))
        start += int(rng.integers(self.longest - length + 1))
        room = (video_length - 1 - start) // max(length - 1, 1)
        interval = int(rng.integers(1, min(self.max_interval, room) + 1)) if length > 1 else 1
        return list(range(start, start + interval * length, interval))


class ClipSampler(DistributedSampler[ClipKey]):
    """Distributed sampler of clips with an order that depends on seed and epoch only.

    ``n`` processes with batches of ``b`` together receive the batches that one process receives with ``n * b``.

    Attributes:
        begin: Number of clips of this process that the next pass skips, once, to resume an interrupted epoch.

    Args:
        dataset: Dataset, used for its length.
        shuffle: Whether the order is random. False keeps the order of the dataset.
        seed: Seed of the order.
        num_replicas: Number of processes.
        rank: Rank of this process.

    >>> [list(ClipSampler(range(4), num_replicas=2, rank=rank)) for rank in (0, 1)]
    [[(0, 2), (0, 1)], [(0, 0), (0, 3)]]
    """

    def __init__(
        self, dataset: Sized, *, shuffle: bool = True, seed: int = 0, num_replicas: int = 1, rank: int = 0
    ) -> None:
        super().__init__(cast("Dataset[ClipKey]", dataset), num_replicas, rank, shuffle=shuffle, seed=seed)
        self.begin = 0

    def __iter__(self) -> Iterator[ClipKey]:
        begin, self.begin = self.begin, 0
        size = len(cast(Sized, self.dataset))
        # torch adds seed and epoch, so that seed 1 in epoch 0 would repeat seed 0 in epoch 1.
        order = np.random.default_rng((self.seed, self.epoch)).permutation(size) if self.shuffle else np.arange(size)
        shared = np.resize(order, self.total_size)  # repeats the first clips to fill the last processes
        for index in shared[self.rank :: self.num_replicas][begin:]:
            yield self.epoch, int(index)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch."""
        if epoch != self.epoch:
            self.begin = 0
        super().set_epoch(epoch)


class SequenceSampler(DistributedSampler[ClipKey]):
    """Distributed sampler of whole videos, frame by frame.

    Videos are assigned in order of decreasing length, each to the process with the fewest frames.

    Args:
        lengths: ``(V,)`` number of frames of each video.
        num_replicas: Number of processes.
        rank: Rank of this process.

    >>> [list(SequenceSampler(np.array([2, 3, 1]), num_replicas=2, rank=rank)) for rank in (0, 1)]
    [[(0, 2), (0, 3), (0, 4)], [(0, 0), (0, 1), (0, 5)]]
    """

    def __init__(self, lengths: npt.NDArray[np.int64], *, num_replicas: int = 1, rank: int = 0) -> None:
        self.indices = _share(lengths, num_replicas, rank)
        super().__init__(cast("Dataset[ClipKey]", self.indices), num_replicas, rank, shuffle=False)

    def __iter__(self) -> Iterator[ClipKey]:
        return ((0, int(index)) for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def _share(lengths: npt.NDArray[np.int64], num_replicas: int, rank: int) -> npt.NDArray[np.int64]:
    load = np.zeros(num_replicas, np.int64)
    owner = np.zeros(len(lengths), np.int64)
    for video in np.argsort(-lengths, kind="stable"):
        owner[video] = load.argmin()
        load[owner[video]] += lengths[video]
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    own = [np.arange(first[v], first[v + 1]) for v in np.flatnonzero(owner == rank)]
    return np.concatenate(own) if own else np.zeros(0, np.int64)
