"""Sampling of training windows from detection sequences."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from em_kalman.detections.sequences import DetectionSequence, read_detections
from em_kalman.detections.window import WindowBatch
from em_kalman.features import SMALLEST_SIDE
from mot_core.io import BoxTable

FLAT_SHARE = 0.01  # share of zero-area boxes above which the file format was probably misread


class WindowSampler(Dataset[WindowBatch]):
    """Dataset of detection windows, each a :class:`WindowBatch` of size one.

    Use ``collate_fn=WindowBatch.stack`` to batch them. The detections of every frame are shuffled, because a file may
    list objects in the same order in every frame. Windows with an empty first frame have no objects and are skipped.

    Args:
        sequences: Detection sequences.
        num_frames: Number of frames per window.
        stride: Frames between the starts of consecutive windows. Lower values give more, overlapping windows.
        frame_step: Step between the frames of a window; higher values simulate a lower frame rate.
        policy: "dustbin" for all windows, "constant_count" for those with equally many detections in all frames.
        seed: Seed for shuffling the detections.

    Attributes:
        skipped: Number of windows that were skipped.

    Raises:
        ValueError: If an argument is out of range, or more than 1% of the boxes have no area.

    >>> table = BoxTable([1, 2, 3], [-1, -1, -1], [[0, 0, 4, 2]] * 3)
    >>> windows = WindowSampler([DetectionSequence("a", table, range(1, 4), (9, 9))], num_frames=2, stride=1)
    >>> len(windows), windows[1].frames.tolist()
    (2, [[2, 3]])
    """

    def __init__(
        self,
        sequences: Iterable[DetectionSequence],
        *,
        num_frames: int = 10,
        stride: int = 20,
        frame_step: int = 1,
        policy: Literal["dustbin", "constant_count"] = "dustbin",
        seed: int = 0,
    ) -> None:
        if num_frames < 2 or stride < 1 or frame_step < 1:
            raise ValueError(
                f"num_frames, stride, frame_step: expected at least 2, 1, 1, got {num_frames}, {stride}, {frame_step}"
            )
        if policy not in ("dustbin", "constant_count"):
            raise ValueError(f"policy must be dustbin or constant_count, got {policy!r}")
        self.sequences, self.frame_step, self.num_frames = list(sequences), frame_step, num_frames
        self.seed, self.skipped = seed, 0
        for sequence in self.sequences:
            _check_boxes(sequence)
        self._windows: list[tuple[DetectionSequence, range]] = []
        length = (num_frames - 1) * frame_step + 1
        for sequence in self.sequences:
            for start in range(sequence.frames.start, sequence.frames.stop - length + 1, stride):
                frames = range(start, start + length, frame_step)
                counts = [_count(sequence.table, frame) for frame in frames]
                if counts[0] and (policy == "dustbin" or len(set(counts)) == 1):
                    self._windows.append((sequence, frames))
                else:
                    self.skipped += 1

    @classmethod
    def from_folder(
        cls,
        root: str | PathLike[str],
        detections: str = "det",
        *,
        benchmark: str = "auto",
        min_score: float = float("-inf"),
        num_frames: int = 10,
        stride: int = 20,
        frame_step: int = 1,
        policy: Literal["dustbin", "constant_count"] = "dustbin",
        seed: int = 0,
    ) -> WindowSampler:
        """Create windows from a folder of sequences; see :func:`em_kalman.read_detections`.

        Args:
            root: Folder of one sequence, or of several.
            detections: Name of the detection file ``det/NAME.txt``; of several comma-separated names, the first that a
                sequence has.
            benchmark: Name of the benchmark, or "generic" for custom data; "auto" infers it from the sequence names.
            min_score: Minimum detection score.
            num_frames: Number of frames per window.
            stride: Frames between the starts of consecutive windows.
            frame_step: Step between the frames of a window.
            policy: Selection of windows, "dustbin" or "constant_count".
            seed: Seed for shuffling the detections.

        Raises:
            ValueError: If the image size of a sequence is unknown.

        >>> import tempfile
        >>> from mot_core.io import make_scene
        >>> root = tempfile.mkdtemp()
        >>> folder = make_scene(num_objects=4, num_frames=45).save(root)
        >>> len(WindowSampler.from_folder(root, benchmark="generic"))
        2
        """
        found = read_detections(root, detections, benchmark=benchmark, min_score=min_score)
        return cls(found, num_frames=num_frames, stride=stride, frame_step=frame_step, policy=policy, seed=seed)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> WindowBatch:
        sequence, frames = self._windows[index]
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        rows = [_shuffled(sequence.table, frame, rng) for frame in frames]
        valid = torch.zeros(1, len(rows), max(map(len, rows)), dtype=torch.bool)
        for position, one in enumerate(rows):
            valid[0, position, : len(one)] = True
        order, embeddings = torch.cat(rows), sequence.embeddings
        boxes = torch.zeros(*valid.shape, 4)
        boxes[valid] = torch.as_tensor(sequence.table.boxes_xyxy[order], dtype=torch.float32)
        size, numbers = torch.tensor([sequence.image_size]), torch.tensor([list(frames)])
        if embeddings is None:
            return WindowBatch(boxes, valid, size, numbers)
        padded = embeddings.new_zeros(*valid.shape, embeddings.shape[1])
        padded[valid] = embeddings[order]
        return WindowBatch(boxes, valid, size, numbers, padded)


def _count(table: BoxTable, frame: int) -> int:
    rows = table.frame(frame)
    return rows.stop - rows.start


def _shuffled(table: BoxTable, frame: int, rng: torch.Generator) -> Tensor:
    """Return the table rows of a frame in random order."""
    rows = table.frame(frame)
    return rows.start + torch.randperm(rows.stop - rows.start, generator=rng)


def _check_boxes(sequence: DetectionSequence) -> None:
    boxes = sequence.table.boxes_xyxy
    flat = (boxes[:, 2:] - boxes[:, :2] < SMALLEST_SIDE).any(1)
    if flat.sum() > FLAT_SHARE * len(boxes):
        raise ValueError(
            f"{sequence.name}: expected boxes with an area, got {int(flat.sum())} of {len(boxes)} without, the first "
            f"{boxes[flat][0].tolist()} (corners); check that the file has left, top, width, height"
        )
