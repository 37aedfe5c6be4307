"""Detections of one or several sequences in one file, the input of every tracker. Needs NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FrameDetections: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Stream:
    """Detections in frame order. A tracker is reset for every sequence.

    Attributes:
        boxes: Corners in pixels, ``(R, 4)`` float32 as from detectors.
        scores: Scores, ``(R,)`` float32.
        counts: Number of detections of each frame, ``(T,)``.
        lengths: Number of frames of each sequence, ``(S,)``.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Iterable[Sequence[tuple[npt.ArrayLike, npt.ArrayLike]]]) -> Stream:
        """Build a stream from sequences: lists of frames, each of boxes and scores."""
        listed = [list(frames) for frames in sequences]
        boxes = [np.reshape(np.asarray(b, np.float32), (-1, 4)) for frames in listed for b, _ in frames]
        scores = [np.asarray(s, np.float32) for frames in listed for _, s in frames]
        return cls(
            np.concatenate(boxes),
            np.concatenate(scores),
            np.array([len(b) for b in boxes]),
            np.array([len(frames) for frames in listed]),
        )

    def sequences(self) -> Iterator[list[FrameDetections]]:
        """Return the frames of each sequence."""
        ends = np.cumsum(self.counts)
        frames = [
            (self.boxes[end - count : end], self.scores[end - count : end])
            for end, count in zip(ends, self.counts, strict=True)
        ]
        first = 0
        for length in self.lengths:
            yield frames[first : first + length]
            first += length

    @property
    def density(self) -> float:
        """Return the mean number of detections per frame."""
        return len(self.boxes) / len(self.counts)

    def save(self, path: Path) -> None:
        """Write the stream as plain arrays, so that reading it runs no code."""
        np.savez(path, boxes=self.boxes, scores=self.scores, counts=self.counts, lengths=self.lengths)

    @classmethod
    def load(cls, path: Path | str) -> Stream:
        """Read a stream written by :meth:`save`."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**file)
