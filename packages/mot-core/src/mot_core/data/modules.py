"""LightningDataModules over clips and frames: folders of sequences, and synthetic video."""

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
from mot_core.data.loading import ClipLoader, LoaderDataModule
from mot_core.data.sampling import ClipSampler, ClipSampling, SequenceSampler
from mot_core.data.synthetic_video import SyntheticVideo
from mot_core.io import Sequence as VideoSequence
from mot_core.io import find_sequences
from mot_core.io.guess import fallback_note

Stage = Literal["train", "val", "test", "predict"]
Folders = str | Path | Sequence[str | Path]


class ClipDataModule(LoaderDataModule, ABC):
    """Loaders of clips for training, and of frames in order for validation, test and prediction.

    A subclass implements :meth:`make_source`. In training, ``n`` processes with batches of ``b`` together receive what
    one process receives with ``n * b``; otherwise each process receives whole sequences, one frame at a time.

    Args:
        clip_length: Frames per clip, or a schedule ``{first epoch: length}``.
        max_interval: Largest step between the frames of a clip, drawn from 1 to this number per clip.
        stride: Frames between the starts of consecutive clips.
        augmentation: Augmentation of training clips; the same transform for all frames of a clip.
        resize: Resizing of frames in validation, test and prediction. None: to the largest size of ``augmentation``.
        batch_size: Clips per batch and process.
        num_workers: Worker processes that prepare clips, per process. 0 prepares them in the process itself.
        seed: Seed for order, intervals and augmentation.

    Attributes:
        keeps_size: Whether neither ``resize`` nor ``augmentation`` sets a size, so that frames keep theirs.
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
        super().__init__(batch_size, num_workers, seed)
        self.sampling = ClipSampling(clip_length, max_interval, stride)
        self.augmentation = augmentation or Augmentation()
        self.resize = resize or self.augmentation.for_evaluation()
        self._resize_follows = resize is None and bool(self.resize.short_sides)
        self.keeps_size = resize is None and not self.resize.short_sides
        self._sources: dict[Stage, FrameSource | None] = {}

    @abstractmethod
    def make_source(self, stage: Stage) -> FrameSource | None:
        """Return the frames of a stage, or None if it has no data."""

    def source(self, stage: Stage) -> FrameSource:
        """Return the frames of a stage, read once.

        Raises:
            ValueError: If the stage has no data.
        """
        if stage not in self._sources:
            self._sources[stage] = self.make_source(stage)
        source = self._sources[stage]
        if source is None:
            raise ValueError(f"data: expected data for {stage}, got none; set its argument {stage!r}")
        return source

    def notes(self) -> list[str]:
        """Return sentences about the data that the user should read before training."""
        if not self._resize_follows:
            return []
        return [
            f"frames are validated at the largest size of the training augmentation, a shorter side of "
            f"{self.resize.short_sides[0]} and a longer side of at most {self.resize.max_long_side} pixels; to use "
            "another, set --data.resize"
        ]

    def setup(self, stage: str) -> None:
        """Read and check the data of a stage, so that faults are reported before training starts."""
        first: dict[str, Stage] = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}
        self.source(first[stage])
        if stage == "fit":
            self._clips()
            self._sources.setdefault("val", self.make_source("val"))
            if self._sources["val"] is None:
                self.skip_validation()

    def train_dataloader(self) -> ClipLoader:
        """Return clips in a new random order every epoch."""
        clips = self._clips()
        return self.training_loader(clips, ClipSampler(clips, seed=self.seed, **self.processes()))

    def val_dataloader(self) -> DataLoader[Any]:
        """Return frames in order."""
        return self._frames("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return frames in order."""
        return self._frames("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return frames in order."""
        return self._frames("predict")

    def _clips(self) -> ClipDataset:
        return ClipDataset(self.source("train"), self.sampling, self.augmentation, self.seed)

    def _frames(self, stage: Stage) -> DataLoader[Any]:
        frames = FrameDataset(self.source(stage), self.resize)
        return DataLoader(
            cast("Dataset[Any]", frames),
            sampler=SequenceSampler(frames.lengths, **self.processes()),
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
        )


class MOTDataModule(ClipDataModule):
    """Sequences in folders (MOTChallenge or KITTI layout) and COCO-style lists.

    Args:
        train: Folder or folders of sequences to train on.
        val: Folder or folders of sequences to validate on during training.
        test: Folder or folders of sequences to test on.
        predict: Folder or folders of sequences to track without ground truth.
        train_coco: Additional training data: COCO-style files of still images (CrowdHuman) or videos, each with the
            folder of its images.
        val_coco: Additional validation data, like ``train_coco``.
        benchmark: Benchmark whose rules select the ground truth; ``"auto"`` infers it from folder names, with
            ``"generic"`` if none fits.
        split: ``"half"`` trains on the first half of each sequence, and validates and tests on the second halves.
        min_visibility: Smallest visible share of an object; objects below it are ignored in training.
        with_depth: Read depth maps (``depth/NAME.png`` or ``.npy`` next to ``img1``) in training.
        cache_mb: Memory per worker for decoded images, in megabytes.
        clip_length: Frames per clip, or a schedule ``{first epoch: length}``.
        max_interval: Largest step between the frames of a clip, drawn from 1 to this number per clip.
        stride: Frames between the starts of consecutive clips.
        augmentation: Augmentation of training clips; the same transform for all frames of a clip.
        resize: Resizing of frames in validation, test and prediction. None: to the largest size of ``augmentation``.
        batch_size: Clips per batch and process.
        num_workers: Worker processes that prepare clips, per process. 0 prepares them in the process itself.
        seed: Seed for order, intervals and augmentation.

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
            raise ValueError(f"split: expected 'none' or 'half', got {split!r}")
        self.folders: dict[Stage, Folders] = {"train": train, "val": val, "test": test, "predict": predict}
        self.coco: dict[Stage, Mapping[str, str]] = {"train": train_coco or {}, "val": val_coco or {}}
        self.benchmark = benchmark
        self.split = split
        self.min_visibility = min_visibility
        self.with_depth = with_depth
        self.cache_mb = cache_mb
        self._inferred: set[str] = set()

    def notes(self) -> list[str]:
        """Return a sentence if no benchmark fits the folders read so far."""
        notes = {fallback_note(self.benchmark, one) for one in self._inferred}
        return [*super().notes(), *(note for note in notes if note)]

    def sequences(self, stage: Stage) -> list[VideoSequence]:
        """Return the sequences in the folders of a stage, cut to their half if they are split.

        >>> MOTDataModule().sequences("train")
        []
        """
        folders = self.folders[stage]
        paths = [folders] if isinstance(folders, str | Path) else folders
        found = [one for path in paths for one in find_sequences(path, benchmark=self.benchmark)]
        self._inferred |= {one.benchmark for one in found}
        if self.split == "none" or stage == "predict":
            return found
        return [first_half(one) if stage == "train" else one.half_val() for one in found]

    def make_source(self, stage: Stage) -> FrameSource | None:
        """Return the frames of a stage, or None if it has no data."""
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
    """Synthetic video, rendered while it is read: endless data without files.

    Args:
        num_videos: Number of training videos.
        num_val_videos: Number of videos to validate, test and predict on, rendered from other seeds.
        num_frames: Frames per video.
        image_size: Height and width in pixels.
        num_objects: Smallest and largest number of objects per video.
        with_depth: Render depth maps too.
        frame_step: Scene frames from one video frame to the next, see :class:`SyntheticVideo`.
        likeness: How much the objects of a video look alike, from 0 to 1, see :class:`SyntheticVideo`.
        clip_length: Frames per clip, or a schedule ``{first epoch: length}``.
        max_interval: Largest step between the frames of a clip, drawn from 1 to this number per clip.
        stride: Frames between the starts of consecutive clips.
        augmentation: Augmentation of training clips; the same transform for all frames of a clip.
        batch_size: Clips per batch and process.
        num_workers: Worker processes that prepare clips, per process. 0 prepares them in the process itself.
        seed: Seed for videos, order, intervals and augmentation.

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
        likeness: float = 0.0,
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
            "likeness": likeness,
            "seed": seed,
        }

    def make_source(self, stage: Stage) -> SyntheticVideo:
        """Return the videos of a stage; prediction uses those of the test."""
        count = self.num_videos if stage == "train" else self.num_val_videos
        return SyntheticVideo(count, split="test" if stage == "predict" else stage, **self.video)


def first_half(sequence: VideoSequence) -> VideoSequence:
    """Return the frames before :meth:`mot_core.io.Sequence.half_val`, for training.

    >>> first_half(VideoSequence("MOT17-02-FRCNN", Path(), "MOT17", length=600)).frame_numbers()
    range(1, 302)
    """
    return sequence.window(sequence.first_frame, sequence.half_val().first_frame - 1)
