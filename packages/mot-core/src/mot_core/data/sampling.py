"""Which frames a clip is made of, and in which order clips come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, DistributedSampler

ClipKey: TypeAlias = tuple[int, int]
"""Epoch and index: what a dataset of clips is asked for. Workers need no other news of the epoch."""


class ClipSampling:
    """Clip lengths by epoch and intervals between the frames of a clip.

    An epoch has one clip for each window of the longest length (every ``stride`` frames); a shorter clip lies anywhere
    in its window. So the number of clips is the same in every epoch.

    Args:
        length: frames of a clip; or a schedule ``{first epoch: length}`` that begins with epoch 0.
        max_interval: the interval is drawn from 1 to this for every clip, less where the sequence would end.
        stride: frames between windows; with more than 1, the begin of a clip is drawn within its stride.

    Raises:
        ValueError: a number is out of range.

    >>> sampling = ClipSampling({0: 2, 50: 3, 90: 4})
    >>> [sampling.length(epoch) for epoch in (0, 49, 50, 200)]
    [2, 2, 3, 4]
    >>> ClipSampling(4, max_interval=10).positions(100, 7, 0, np.random.default_rng(0))
    [7, 16, 25, 34]
    """

    def __init__(self, length: int | Mapping[int, int] = 1, max_interval: int = 1, stride: int = 1) -> None:
        self.schedule = dict(sorted(length.items())) if isinstance(length, Mapping) else {0: length}
        if not self.schedule or next(iter(self.schedule)) != 0:
            raise ValueError(f"clip length: a schedule must begin with epoch 0, got {self.schedule}")
        shortest = min(self.schedule.values())
        for name, value in (("clip length", shortest), ("max_interval", max_interval), ("stride", stride)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1 frame, got {value}")
        self.max_interval = max_interval
        self.stride = stride

    @property
    def longest(self) -> int:
        """The longest length of the schedule."""
        return max(self.schedule.values())

    def length(self, epoch: int) -> int:
        """Frames of the clips of an epoch."""
        return self.schedule[max(first for first in self.schedule if first <= epoch)]

    def num_windows(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Clips per epoch of videos of some lengths ``(V,)``; one of a still (0).

        >>> ClipSampling(4, stride=2).num_windows(np.array([3, 4, 5, 6, 0]))
        array([0, 1, 1, 2, 1])
        """
        starts = lengths - self.longest + 1
        return np.where(lengths == 0, 1, -(-starts.clip(0) // self.stride))

    def positions(self, video_length: int, window: int, epoch: int, rng: np.random.Generator) -> list[int]:
        """The frames of a clip, as positions in its video.

        Args:
            video_length: frames of the video, at least the longest clip; 0: a still.
            window: from 0 to ``num_windows`` - 1.
            epoch: for the schedule.
            rng: draws begin and interval.
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
    """Gives the clips of an epoch in an order that depends on seed and epoch only, each process its share.

    ``n`` processes with batches of ``b`` get together the batches that one process gets with ``n * b``.

    Attributes:
        begin: clips of this process that the next pass leaves out, once: where an interrupted epoch goes on.

    Args:
        dataset: for its length.
        shuffle: False: in the order of the dataset.
        seed: of the order.
        num_replicas: number of processes.
        rank: of this process.

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
        # torch's own order of seed 1 in epoch 0 is that of seed 0 in epoch 1.
        order = np.random.default_rng((self.seed, self.epoch)).permutation(size) if self.shuffle else np.arange(size)
        shared = np.resize(order, self.total_size)  # begins anew where the processes do not divide the size
        for index in shared[self.rank :: self.num_replicas][begin:]:
            yield self.epoch, int(index)

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch."""
        if epoch != self.epoch:
            self.begin = 0
        super().set_epoch(epoch)


class SequenceSampler(DistributedSampler[ClipKey]):
    """Gives the frames of whole videos in their order, each process its share of the videos.

    Args:
        lengths: ``(V,)`` items of each video.
        num_replicas: number of processes.
        rank: of this process. The longest videos are dealt out first, to the process that has least.

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
