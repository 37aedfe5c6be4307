"""Windows of detections to learn from."""

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

FLAT_SHARE = 0.01  # of boxes without area: above, the file is read wrongly


class WindowSampler(Dataset[WindowBatch]):
    """Windows of detections, each a :class:`WindowBatch` of one; ``collate_fn=WindowBatch.stack`` joins them.

    The order of the detections of a frame is shuffled, as a file may hold objects in the same order in every frame.
    Windows whose first frame is empty have no objects and are left out.

    Args:
        sequences: detections.
        num_frames: frames of a window.
        stride: frames from the begin of a window to that of the next.
        frame_step: take every so many frames.
        policy: "dustbin": all windows; "constant_count": those whose frames have as many detections.
        seed: of the shuffling.

    Attributes:
        skipped: number of windows that were left out.

    Raises:
        ValueError: a number is out of range, or more than 1% of the boxes have no area.

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
                f"num_frames must be at least 2, stride and frame_step at least 1, got {num_frames}, {stride} and "
                f"{frame_step}"
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
        """Windows from a folder of sequences, see :func:`em_kalman.read_detections`.

        Args:
            root: a sequence, or a folder of sequences.
            detections: read ``det/NAME.txt``; of several names, by commas, the first that a sequence has.
            benchmark: name of the benchmark, "generic" for own data; "auto" tells it from the names of the sequences.
            min_score: lowest score of a detection.
            num_frames: frames of a window.
            stride: frames from the begin of a window to that of the next.
            frame_step: take every so many frames.
            policy: which windows.
            seed: of the shuffling.

        Raises:
            ValueError: a sequence does not tell the size of its images.

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
    """Rows of the table."""
    rows = table.frame(frame)
    return rows.start + torch.randperm(rows.stop - rows.start, generator=rng)


def _check_boxes(sequence: DetectionSequence) -> None:
    boxes = sequence.table.boxes_xyxy
    flat = (boxes[:, 2:] - boxes[:, :2] < SMALLEST_SIDE).any(1)
    if flat.sum() > FLAT_SHARE * len(boxes):
        raise ValueError(
            f"{sequence.name}: {int(flat.sum())} of {len(boxes)} detections have no area, the first of them "
            f"{boxes[flat][0].tolist()} (corners); is the file in left, top, width, height?"
        )
