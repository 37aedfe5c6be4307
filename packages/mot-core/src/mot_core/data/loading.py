"""Loaders that resume in the middle of an epoch, and the LightningDataModule that builds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from torch.utils.data import DataLoader, Dataset

from mot_core.data.collate import collate
from mot_core.data.sampling import ClipSampler
from mot_core.extras import needs

with needs("lightning", "train", "training"):
    from lightning import LightningDataModule


class ClipLoader(DataLoader[Any]):
    """Batches of clips, the same for any number of workers.

    Lightning saves :meth:`state_dict` in its checkpoints, so that training resumes in the middle of an epoch.

    Args:
        dataset: Clips.
        sampler: Order of the clips.
        batch_size: Clips per batch.
        num_workers: Worker processes that prepare clips. 0 prepares them in this process.
        collate_fn: Function that makes a batch of clips.

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
        """Return the epoch and the number of batches already returned in it."""
        return {"epoch": self.clip_sampler.epoch, "batches": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches of ``state``; after a whole epoch, with the next epoch."""
        finished = state["batches"] >= len(self)
        self.clip_sampler.set_epoch(state["epoch"] + finished)
        self.clip_sampler.begin = 0 if finished else state["batches"] * cast(int, self.batch_size)


class LoaderDataModule(LightningDataModule):
    """Training loaders that give the same batches for any number of workers and processes, and resume exactly.

    ``n`` processes with batches of ``b`` together receive what one process receives with batches of ``n * b``.

    Args:
        batch_size: Samples per batch and process.
        num_workers: Worker processes that prepare samples, per process. 0 prepares them in the process itself.
        seed: Seed for the order and all random draws.

    Raises:
        ValueError: If ``batch_size`` is below 1 or ``num_workers`` below 0.
    """

    def __init__(self, batch_size: int = 1, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    def training_loader(
        self, dataset: Dataset[Any], sampler: ClipSampler, collate_fn: Callable[[Any], Any] = collate
    ) -> ClipLoader:
        """Return a loader over a new order every epoch that resumes in the middle of an epoch.

        Args:
            dataset: Samples to train on.
            sampler: Order of the samples.
            collate_fn: Function that makes a batch of samples.
        """
        if self.trainer is not None:  # when resuming, the first pass starts before Lightning sets the epoch
            sampler.set_epoch(self.trainer.current_epoch)
        return ClipLoader(dataset, sampler, self.batch_size, self.num_workers, collate_fn)

    def skip_validation(self) -> None:
        """Turn validation off if there is no validation data, because Lightning does not check for it."""
        if self.trainer is not None:
            self.trainer.limit_val_batches = 0

    def processes(self) -> dict[str, Any]:
        """Return number and rank of the processes, as samplers take them.

        >>> LoaderDataModule().processes()
        {'num_replicas': 1, 'rank': 0}
        """
        if self.trainer is None:
            return {"num_replicas": 1, "rank": 0}
        return {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}
