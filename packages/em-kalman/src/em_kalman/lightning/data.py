"""Windows of detections as LightningDataModules: no labels, no images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from em_kalman.detections.sampler import WindowSampler
from em_kalman.detections.sequences import DetectionSequence, read_detections
from em_kalman.detections.window import WindowBatch
from mot_core.extras import needs
from mot_core.io import make_scene

with needs("lightning", "train", "training", package="em-kalman"):
    from lightning import LightningDataModule

from mot_core.data import ClipLoader, ClipSampler

Folders = str | Path | Sequence[str | Path]


class WindowDataModule(LightningDataModule, ABC):
    """Loaders over windows of detections; the last frames of each sequence are kept for validation.

    A subclass tells the sequences. ``n`` processes with batches of ``b`` get together what one process gets with
    ``n * b``, and any number of workers the same windows.

    Args:
        val_share: of the frames of a sequence, kept for validation.
        num_frames: frames of a window.
        stride: frames from the begin of a window to that of the next.
        frame_step: take every so many frames.
        batch_size: windows per process.
        num_workers: workers of each process, that make the windows; 0: the process itself makes them.
        seed: of order and shuffling.
    """

    def __init__(
        self,
        val_share: float = 0.1,
        num_frames: int = 10,
        stride: int = 20,
        frame_step: int = 1,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 <= val_share < 1:
            raise ValueError(f"val_share must be from 0 to below 1, got {val_share}")
        self.val_share = val_share
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._options: dict[str, Any] = {
            "num_frames": num_frames,
            "stride": stride,
            "frame_step": frame_step,
            "seed": seed,
        }
        self._windows: tuple[WindowSampler, WindowSampler] | None = None

    @abstractmethod
    def make_sequences(self) -> list[DetectionSequence]:
        """The detections to learn from."""

    def setup(self, stage: str) -> None:
        """Read and check the detections, so that faults are told before the training starts.

        Raises:
            ValueError: no sequence is as long as a window.
        """
        train, val = self._samplers()
        if stage == "fit" and not len(train):
            options = self._options
            raise ValueError(
                f"no window of {options['num_frames']} frames with frame_step {options['frame_step']} has detections: "
                "the sequences are too short or empty; give fewer num_frames, or other detections"
            )
        if stage == "fit" and not len(val) and self.trainer is not None:
            self.trainer.limit_val_batches = 0  # nothing to validate on: Lightning does not ask for it

    def train_dataloader(self) -> ClipLoader:
        """Windows in an order that is drawn anew every epoch; it resumes where it stopped."""
        windows, _ = self._samplers()
        order = _Order(windows, seed=self.seed, **self._processes())
        if self.trainer is not None:  # resumed: the first pass begins before Lightning tells the epoch
            order.set_epoch(self.trainer.current_epoch)
        return ClipLoader(windows, order, self.batch_size, self.num_workers, WindowBatch.stack)

    def val_dataloader(self) -> DataLoader[WindowBatch]:
        """Windows in their order."""
        _, windows = self._samplers()
        order = _Order(windows, shuffle=False, **self._processes())
        return DataLoader(
            windows, self.batch_size, sampler=order, num_workers=self.num_workers, collate_fn=WindowBatch.stack
        )

    def _samplers(self) -> tuple[WindowSampler, WindowSampler]:
        """To train and to validate on, made once."""
        if self._windows is None:
            sequences = self.make_sequences()
            first, last = zip(*(_split(sequence, self.val_share) for sequence in sequences), strict=True)
            self._windows = WindowSampler(first, **self._options), WindowSampler(last, **self._options)
        return self._windows

    def _processes(self) -> dict[str, Any]:
        if self.trainer is None:
            return {"num_replicas": 1, "rank": 0}
        return {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}


class DetectionDataModule(WindowDataModule):
    """The detections of folders or text files; ground truth is never opened.

    Args:
        root: a sequence, a folder of sequences, a text file of detections, or several of them.
        detections: of a sequence, read ``det/NAME.txt``; of several names, by commas, the first that it has.
        sequences: only sequences of these names, as ``*-FRCNN``; all by default.
        benchmark: name of the benchmark, "generic" for own data; "auto" tells it from the names of the sequences.
        min_score: lowest score of a detection.
        image_size: (height, width) where a sequence does not tell it, and of text files.
        val_share: of the frames of a sequence, kept for validation.
        num_frames: frames of a window.
        stride: frames from the begin of a window to that of the next.
        frame_step: take every so many frames.
        batch_size: windows per process.
        num_workers: workers of each process, that make the windows; 0: the process itself makes them.
        seed: of order and shuffling.

    >>> import tempfile
    >>> root = tempfile.mkdtemp()
    >>> _ = make_scene(num_objects=4, num_frames=60).save(root)
    >>> data = DetectionDataModule(root, benchmark="generic", stride=4)
    >>> len(data.train_dataloader().dataset)
    12
    """

    def __init__(
        self,
        root: Folders = (),
        detections: str = "det",
        sequences: Sequence[str] = (),
        benchmark: str = "auto",
        min_score: float = float("-inf"),
        image_size: tuple[int, int] | None = None,
        val_share: float = 0.1,
        num_frames: int = 10,
        stride: int = 20,
        frame_step: int = 1,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(val_share, num_frames, stride, frame_step, batch_size, num_workers, seed)
        self.root = root
        self.detections = detections
        self.sequences = sequences
        self.benchmark = benchmark
        self.min_score = min_score
        self.image_size = image_size

    def make_sequences(self) -> list[DetectionSequence]:
        """The detections in the files."""
        return read_detections(
            self.root,
            self.detections,
            benchmark=self.benchmark,
            names=self.sequences,
            min_score=self.min_score,
            image_size=self.image_size,
        )


class SyntheticDetectionDataModule(WindowDataModule):
    """Detections of made-up scenes (:func:`mot_core.io.make_scene`): no files.

    Args:
        num_scenes: number of scenes.
        num_objects: people in a scene.
        scene_frames: frames of a scene.
        val_share: of the frames of a scene, kept for validation.
        num_frames: frames of a window.
        stride: frames from the begin of a window to that of the next.
        frame_step: take every so many frames.
        batch_size: windows per process.
        num_workers: workers of each process, that make the windows; 0: the process itself makes them.
        seed: of scenes, order and shuffling.

    >>> data = SyntheticDetectionDataModule(num_scenes=2, num_objects=5, scene_frames=50, stride=5)
    >>> len(data.train_dataloader().dataset)
    16
    """

    def __init__(
        self,
        num_scenes: int = 8,
        num_objects: int = 20,
        scene_frames: int = 200,
        val_share: float = 0.1,
        num_frames: int = 10,
        stride: int = 20,
        frame_step: int = 1,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(val_share, num_frames, stride, frame_step, batch_size, num_workers, seed)
        if num_scenes < 1:
            raise ValueError(f"num_scenes must be at least 1, got {num_scenes}")
        self.num_scenes = num_scenes
        self.num_objects = num_objects
        self.scene_frames = scene_frames

    def make_sequences(self) -> list[DetectionSequence]:
        """The detections of the scenes."""
        found = []
        for number in range(self.num_scenes):
            scene = make_scene(self.seed * self.num_scenes + number, self.num_objects, self.scene_frames)
            frames = range(1, scene.num_frames + 1)
            found.append(DetectionSequence(f"scene {number}", scene.detections, frames, scene.image_size))
        return found


class _Order(ClipSampler):
    """A :class:`ClipSampler` of indices: windows do not depend on the epoch."""

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]
        return (index for _, index in super().__iter__())


def _split(sequence: DetectionSequence, val_share: float) -> tuple[DetectionSequence, DetectionSequence]:
    """The first and the last frames."""
    begin = len(sequence.frames) - round(val_share * len(sequence.frames))
    return replace(sequence, frames=sequence.frames[:begin]), replace(sequence, frames=sequence.frames[begin:])
