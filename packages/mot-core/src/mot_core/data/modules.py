"""The data of a training as LightningDataModules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from torch.utils.data import DataLoader, Dataset

from mot_core.data.augmentation import Augmentation
from mot_core.data.clips import ClipDataset, FrameDataset
from mot_core.data.coco import read_coco
from mot_core.data.collate import collate
from mot_core.data.decode import DecodeCache
from mot_core.data.folders import index_sequences
from mot_core.data.image_frame import FrameSource
from mot_core.data.index import FrameIndex
from mot_core.data.loading import ClipLoader
from mot_core.data.sampling import ClipSampler, ClipSampling, SequenceSampler
from mot_core.data.synthetic_video import SyntheticVideo
from mot_core.extras import needs
from mot_core.io import Sequence as VideoSequence
from mot_core.io import find_sequences

with needs("lightning", "train", "training"):
    from lightning import LightningDataModule

Stage = Literal["train", "val", "test", "predict"]
Folders = str | Path | Sequence[str | Path]


class ClipDataModule(LightningDataModule, ABC):
    """Loaders over sources of frames: clips to train on, frames in their order for all else.

    A subclass tells the source of a stage. In training, ``n`` processes with batches of ``b`` get together what one
    process gets with ``n * b``; otherwise every process gets whole sequences, one frame at a time.

    Args:
        clip_length: frames of a clip, or a schedule ``{first epoch: length}``.
        max_interval: largest interval between the frames of a clip; it is drawn from 1 on.
        stride: frames between the begins of clips.
        augmentation: of the clips.
        resize: of the frames for validation, test and prediction.
        batch_size: clips per process.
        num_workers: workers of each process, that make the clips; 0: the process itself makes them.
        seed: of order, intervals and augmentation.
    """

    def __init__(
        self,
        clip_length: int | dict[int, int] = 2,
        max_interval: int = 1,
        stride: int = 1,
        augmentation: Augmentation | None = None,
        resize: Augmentation | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.sampling = ClipSampling(clip_length, max_interval, stride)
        self.augmentation = augmentation or Augmentation()
        self.resize = resize or Augmentation()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._sources: dict[Stage, FrameSource | None] = {}

    @abstractmethod
    def make_source(self, stage: Stage) -> FrameSource | None:
        """The frames of a stage; None where there are none."""

    def source(self, stage: Stage) -> FrameSource:
        """The frames of a stage, made once.

        Raises:
            ValueError: there are none.
        """
        if stage not in self._sources:
            self._sources[stage] = self.make_source(stage)
        source = self._sources[stage]
        if source is None:
            raise ValueError(f"there is no data for {stage}; give the argument {stage!r} of the data")
        return source

    def setup(self, stage: str) -> None:
        """Read and check what a stage needs, so that faults are told before the training starts."""
        first: dict[str, Stage] = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}
        self.source(first[stage])
        if stage == "fit":
            self._clips()
            self._sources.setdefault("val", self.make_source("val"))
            if self._sources["val"] is None and self.trainer is not None:
                self.trainer.limit_val_batches = 0  # nothing to validate on: Lightning does not ask for it

    def train_dataloader(self) -> ClipLoader:
        """Clips in an order that is drawn anew every epoch."""
        clips = self._clips()
        sampler = ClipSampler(clips, seed=self.seed, **self._processes())
        if self.trainer is not None:  # resumed: the first pass begins before Lightning tells the epoch
            sampler.set_epoch(self.trainer.current_epoch)
        return ClipLoader(clips, sampler, self.batch_size, self.num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """Frames in their order."""
        return self._frames("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Frames in their order."""
        return self._frames("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Frames in their order."""
        return self._frames("predict")

    def _clips(self) -> ClipDataset:
        return ClipDataset(self.source("train"), self.sampling, self.augmentation, self.seed)

    def _frames(self, stage: Stage) -> DataLoader[Any]:
        frames = FrameDataset(self.source(stage), self.resize)
        return DataLoader(
            cast("Dataset[Any]", frames),
            sampler=SequenceSampler(frames.lengths, **self._processes()),
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
        )

    def _processes(self) -> dict[str, Any]:
        if self.trainer is None:
            return {"num_replicas": 1, "rank": 0}
        return {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}


class MOTDataModule(ClipDataModule):
    """Sequences in folders (MOTChallenge layout or KITTI) and COCO-style lists.

    Args:
        train: folder, or several, of sequences to train on.
        val: to validate on while training.
        test: to test on.
        predict: to track only, without ground truth.
        train_coco: more to train on: COCO-style files of stills (CrowdHuman) or videos, and the folder of their images.
        val_coco: more to validate on.
        benchmark: name of the benchmark whose rules say which ground truth counts; ``"auto"``: from the folders.
        split: ``"half"``: train on the first half of each sequence of ``train``, validate and test on second halves.
        min_visibility: objects of which less is visible are ignored in training.
        with_depth: read depth maps (``depth/NAME.png`` beside ``img1``), in training.
        cache_mb: memory per worker for decoded images, in MB.
        clip_length: frames of a clip, or a schedule ``{first epoch: length}``.
        max_interval: largest interval between the frames of a clip; it is drawn from 1 on.
        stride: frames between the begins of clips.
        augmentation: of the clips.
        resize: of the frames for validation, test and prediction.
        batch_size: clips per process.
        num_workers: workers of each process, that make the clips; 0: the process itself makes them.
        seed: of order, intervals and augmentation.

    >>> import tempfile
    >>> root = tempfile.mkdtemp()
    >>> _ = SyntheticVideo(num_videos=1, num_frames=8).save(root, 0)
    >>> data = MOTDataModule(train=root, benchmark="generic", clip_length=3, batch_size=2)
    >>> batch = next(iter(data.train_dataloader()))
    >>> batch.images.shape
    torch.Size([2, 3, 3, 96, 160])
    """

    def __init__(
        self,
        train: Folders = (),
        val: Folders = (),
        test: Folders = (),
        predict: Folders = (),
        *,
        train_coco: Mapping[str, str] | None = None,
        val_coco: Mapping[str, str] | None = None,
        benchmark: str = "auto",
        split: Literal["none", "half"] = "none",
        min_visibility: float = 0.0,
        with_depth: bool = False,
        cache_mb: int = 256,
        clip_length: int | dict[int, int] = 2,
        max_interval: int = 1,
        stride: int = 1,
        augmentation: Augmentation | None = None,
        resize: Augmentation | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(clip_length, max_interval, stride, augmentation, resize, batch_size, num_workers, seed)
        if split not in ("none", "half"):
            raise ValueError(f"split must be 'none' or 'half', got {split!r}")
        self.folders: dict[Stage, Folders] = {"train": train, "val": val, "test": test, "predict": predict}
        self.coco: dict[Stage, Mapping[str, str]] = {"train": train_coco or {}, "val": val_coco or {}}
        self.benchmark = benchmark
        self.split = split
        self.min_visibility = min_visibility
        self.with_depth = with_depth
        self.cache_mb = cache_mb

    def sequences(self, stage: Stage) -> list[VideoSequence]:
        """The sequences in the folders of a stage, cut where they are split.

        >>> MOTDataModule().sequences("train")
        []
        """
        folders = self.folders[stage]
        paths = [folders] if isinstance(folders, str | Path) else folders
        found = [one for path in paths for one in find_sequences(path, benchmark=self.benchmark)]
        if self.split == "none" or stage == "predict":
            return found
        return [first_half(one) if stage == "train" else one.half_val() for one in found]

    def make_source(self, stage: Stage) -> FrameSource | None:
        """The frames of a stage; None where there are none."""
        parts: list[FrameIndex] = []
        sequences = self.sequences(stage)
        training = stage == "train"
        if sequences:
            parts.append(
                index_sequences(
                    sequences,
                    min_visibility=self.min_visibility if training else 0.0,
                    needs_ground_truth=stage != "predict",
                    with_depth=self.with_depth and training,
                )
            )
        parts += [read_coco(file, folder) for file, folder in self.coco.get(stage, {}).items()]
        if not parts:
            return None
        return FrameIndex.concatenate(parts, DecodeCache(self.cache_mb * 2**20))


class SyntheticDataModule(ClipDataModule):
    """Synthetic video, made while it is read: endless data with no files.

    Args:
        num_videos: to train on.
        num_val_videos: to validate, test and predict on, of other seeds.
        num_frames: of each video.
        image_size: (height, width).
        num_objects: fewest and most figures in a video.
        with_depth: depth maps too.
        frame_step: frames of the scene from one frame to the next, see :class:`SyntheticVideo`.
        clip_length: frames of a clip, or a schedule ``{first epoch: length}``.
        max_interval: largest interval between the frames of a clip; it is drawn from 1 on.
        stride: frames between the begins of clips.
        augmentation: of the clips.
        batch_size: clips per process.
        num_workers: workers of each process, that make the clips; 0: the process itself makes them.
        seed: of the videos, order, intervals and augmentation.

    >>> data = SyntheticDataModule(num_videos=100, clip_length=4, stride=30, batch_size=2)
    >>> len(data.train_dataloader()), len(data.val_dataloader())
    (50, 600)
    """

    def __init__(
        self,
        num_videos: int = 1000,
        num_val_videos: int = 20,
        num_frames: int = 30,
        image_size: tuple[int, int] = (96, 160),
        num_objects: tuple[int, int] = (2, 5),
        with_depth: bool = False,
        frame_step: int = 1,
        clip_length: int | dict[int, int] = 4,
        max_interval: int = 1,
        stride: int = 1,
        augmentation: Augmentation | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(clip_length, max_interval, stride, augmentation, None, batch_size, num_workers, seed)
        self.num_videos = num_videos
        self.num_val_videos = num_val_videos
        self.video: dict[str, Any] = {
            "num_frames": num_frames,
            "image_size": image_size,
            "num_objects": num_objects,
            "with_depth": with_depth,
            "frame_step": frame_step,
            "seed": seed,
        }

    def make_source(self, stage: Stage) -> SyntheticVideo:
        """The videos of a stage; prediction is on those of the test."""
        count = self.num_videos if stage == "train" else self.num_val_videos
        return SyntheticVideo(count, split="test" if stage == "predict" else stage, **self.video)


def first_half(sequence: VideoSequence) -> VideoSequence:
    """What :meth:`mot_core.io.Sequence.half_val` leaves over, for training.

    >>> first_half(VideoSequence("MOT17-02-FRCNN", Path(), "MOT17", length=600)).frame_numbers()
    range(1, 302)
    """
    return sequence.window(sequence.first_frame, sequence.half_val().first_frame - 1)
