"""The loader of clips: its state is how far it is, so that an interrupted epoch goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset

from mot_core.data.collate import collate
from mot_core.data.sampling import ClipSampler


class ClipLoader(DataLoader[Any]):
    """Batches of clips, the same ones for any number of workers.

    Lightning saves :meth:`state_dict` in its checkpoints, and so resumes in the middle of an epoch.

    Args:
        dataset: of clips.
        sampler: gives the order.
        batch_size: clips.
        num_workers: processes that make the clips; 0: this one.
        collate_fn: makes a batch of clips.

    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo
    >>> dataset = ClipDataset(SyntheticVideo(num_videos=2, num_frames=5), ClipSampling(3))
    >>> loader = ClipLoader(dataset, ClipSampler(dataset), batch_size=2)
    >>> [batch.times[:, 0].tolist() for batch in loader]
    [[1, 3], [3, 2], [1, 2]]
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: ClipSampler,
        batch_size: int = 1,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] = collate,
    ) -> None:
        self.given = 0
        self.clip_sampler = sampler
        super().__init__(
            dataset,
            sampler=sampler,
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=collate_fn,
            persistent_workers=num_workers > 0,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # wraps torch's iterator
        self.given = self.clip_sampler.begin // cast(int, self.batch_size)
        batches: Any = super().__iter__()
        for batch in batches:
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given."""
        return {"epoch": self.clip_sampler.epoch, "batches": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches of ``state``; after a whole epoch, with the next one."""
        finished = state["batches"] >= len(self)
        self.clip_sampler.set_epoch(state["epoch"] + finished)
        self.clip_sampler.begin = 0 if finished else state["batches"] * cast(int, self.batch_size)
