"""LightningDataModules over windows of detections: no labels, no images."""

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
    from mot_core.data import ClipLoader, ClipSampler, LoaderDataModule

Folders = str | Path | Sequence[str | Path]


class WindowDataModule(LoaderDataModule, ABC):
    """Loaders over windows of detections; the last frames of each sequence are held out for validation.

    A subclass implements :meth:`make_sequences`.

    Args:
        val_share: Share of the last frames of each sequence that is held out for validation.
        num_frames: Frames per window.
        stride: Frames between the starts of consecutive windows.
        frame_step: Use every n-th frame.
        batch_size: Windows per batch and process.
        num_workers: Worker processes that prepare windows, per process. 0 prepares them in the process itself.
        seed: Seed for the order and for shuffling.
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
        super().__init__(batch_size, num_workers, seed)
        if not 0 <= val_share < 1:
            raise ValueError(f"val_share must be from 0 to below 1, got {val_share}")
        self.val_share = val_share
        self._options: dict[str, Any] = {
            "num_frames": num_frames,
            "stride": stride,
            "frame_step": frame_step,
            "seed": seed,
        }
        self._windows: tuple[WindowSampler, WindowSampler] | None = None

    @abstractmethod
    def make_sequences(self) -> list[DetectionSequence]:
        """Return the detections to learn from."""

    def setup(self, stage: str) -> None:
        """Read and check the detections, so that faults are reported before training starts.

        Raises:
            ValueError: If no sequence is as long as a window.
        """
        train, val = self._samplers()
        if stage == "fit" and not len(train):
            options = self._options
            raise ValueError(
                f"no window of {options['num_frames']} frames with frame_step {options['frame_step']} has detections: "
                "the sequences are too short or empty; set a smaller num_frames, or use other detections"
            )
        if stage == "fit" and not len(val):
            self.skip_validation()

    def train_dataloader(self) -> ClipLoader:
        """Return windows in a new random order every epoch, which resumes where it stopped."""
        windows, _ = self._samplers()
        order = _IndexSampler(windows, seed=self.seed, **self.processes())
        return self.training_loader(windows, order, WindowBatch.stack)

    def val_dataloader(self) -> DataLoader[WindowBatch]:
        """Return windows in order."""
        _, windows = self._samplers()
        order = _IndexSampler(windows, shuffle=False, **self.processes())
        return DataLoader(
            windows, self.batch_size, sampler=order, num_workers=self.num_workers, collate_fn=WindowBatch.stack
        )

    def _samplers(self) -> tuple[WindowSampler, WindowSampler]:
        """Windows to train and to validate on, read once."""
        if self._windows is None:
            sequences = self.make_sequences()
            first, last = zip(*(_split(sequence, self.val_share) for sequence in sequences), strict=True)
            self._windows = WindowSampler(first, **self._options), WindowSampler(last, **self._options)
        return self._windows


class DetectionDataModule(WindowDataModule):
    """Detections of folders or text files. Ground truth is never opened.

    Args:
        root: Sequence, folder of sequences or text file of detections, or a list of them.
        detections: Name of the detections: ``det/NAME.txt`` of each sequence. Given several names, separated by commas,
            the first one that a sequence has.
        sequences: Names of the sequences to use, with wildcards such as ``*-FRCNN``; all by default.
        benchmark: Benchmark name, "generic" for your own data; "auto" infers it from the sequence names.
        min_score: Smallest detection score to use.
        image_size: Height and width in pixels for text files and for sequences without a size.
        val_share: Share of the last frames of each sequence that is held out for validation.
        num_frames: Frames per window.
        stride: Frames between the starts of consecutive windows.
        frame_step: Use every n-th frame.
        batch_size: Windows per batch and process.
        num_workers: Worker processes that prepare windows, per process. 0 prepares them in the process itself.
        seed: Seed for the order and for shuffling.

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
        """Return the detections in the files."""
        return read_detections(
            self.root,
            self.detections,
            benchmark=self.benchmark,
            names=self.sequences,
            min_score=self.min_score,
            image_size=self.image_size,
        )


class SyntheticDetectionDataModule(WindowDataModule):
    """Detections of synthetic scenes, see :func:`mot_core.io.make_scene`; needs no files.

    Args:
        num_scenes: Number of scenes.
        num_objects: People per scene.
        scene_frames: Frames per scene.
        val_share: Share of the last frames of each scene that is held out for validation.
        num_frames: Frames per window.
        stride: Frames between the starts of consecutive windows.
        frame_step: Use every n-th frame.
        batch_size: Windows per batch and process.
        num_workers: Worker processes that prepare windows, per process. 0 prepares them in the process itself.
        seed: Seed for scenes, order and shuffling.

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
        """Return the detections of the scenes."""
        found = []
        for number in range(self.num_scenes):
            scene = make_scene(self.seed * self.num_scenes + number, self.num_objects, self.scene_frames)
            frames = range(1, scene.num_frames + 1)
            found.append(DetectionSequence(f"scene {number}", scene.detections, frames, scene.image_size))
        return found


class _IndexSampler(ClipSampler):
    """A :class:`ClipSampler` of plain indices, since windows do not depend on the epoch."""

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]
        return (index for _, index in super().__iter__())


def _split(sequence: DetectionSequence, val_share: float) -> tuple[DetectionSequence, DetectionSequence]:
    """Split the last frames off a sequence."""
    begin = len(sequence.frames) - round(val_share * len(sequence.frames))
    return replace(sequence, frames=sequence.frames[:begin]), replace(sequence, frames=sequence.frames[begin:])
