"""C-BIoU: SORT with buffered boxes, matched in two stages (Yang et al., WACV 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mot_core.association.base import ELAPSED, FIRST_FREE_VALUE, Preset, TrackTable
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import P, V
from mot_core.association.layouts import CenterSize, Layout
from mot_core.association.sort import CONFIRMED, Sort

BOX = 5  # rows of a past detection: time, center and size
HISTORY = FIRST_FREE_VALUE  # the last detections, the newest first
KNOWN = CONFIRMED + 1  # number of past detections


@dataclass(kw_only=True, eq=False)
class CBIoU(Sort):
    """C-BIoU (Yang et al., WACV 2023, arXiv:2211.14317), with all tracks in one batch.

    Boxes are enlarged on every side by a *buffer*, a share of their width and height, before their IoU is computed, so
    that boxes without overlap can match. Tracks are matched with a small buffer first; the remaining tracks and
    detections are matched with a larger one. There is no filter: a track moves by the mean motion between its last
    detections::

        box(t + d) = box(t) + d / n sum_{i = t - n + 1}^{t} (box(i) - box(i - 1))

    Args:
        score_threshold: Detections up to this score are ignored.
        buffer: Buffer of the first stage.
        buffer_second: Buffer of the second stage. Higher values match faster objects but risk identity switches.
        iou_threshold: Lowest IoU of the enlarged boxes of a track and its detection. Higher values match fewer pairs.
        motion_frames: Number ``n`` of past steps that give the motion. A new track uses those that it has.
        max_age: Number of frames for which a track without detections is kept. Higher values bridge longer occlusions
            but risk identity switches.
        min_hits: Number of consecutive detections, after the first, that a track needs before it is reported (none in
            the first frames of a stream).
        frame_rate: Nominal frames per second, used to convert timestamps (seconds) into frames.
        min_area: Tracks with a box of at most this area (square pixels) are not reported.
        max_aspect: Tracks with a larger width / height than this are not reported.
        cost: Association cost between enlarged tracks and detections: ``iou``, ``pixel_iou`` (boxes include their last
            pixel), ``NAME:FILE`` for a learned cost such as lamotr:cost.pt, or in Python a function.
        report: Boxes of the reported tracks; both choices are the detections, because there is no filter.

    Raises:
        ValueError: For ``motion``, because there is no filter; for ``official_quirks``, because no code was released.

    >>> tracker = CBIoU()
    >>> for x in (0, 42, 84):  # the first boxes do not overlap
    ...     tracks = tracker.update(np.array([[x, 0, x + 40, 80]]), np.array([0.9]))
    >>> tracks.ids, tracks.boxes_xyxy
    (array([1]), array([[ 84.,   0., 124.,  80.]]))
    """

    layout: ClassVar[Layout] = CenterSize()
    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "default": Preset(),
        "paper": Preset({"buffer": 0.3, "buffer_second": 0.5}),
    }

    buffer: float = 0.3
    buffer_second: float = 0.5
    motion_frames: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(0 <= self.buffer < float("inf"), "buffer", "0 or more, a share of width and height")
        valid = self.buffer <= self.buffer_second < float("inf")
        self._refuse_unless(valid, "buffer_second", "at least buffer")
        self._refuse_unless(self.motion_frames >= 1, "motion_frames", "at least 1 step")
        self._refuse_unless(not self.motion, "motion", "empty, because C-BIoU has no filter")
        self._refuse_unless(not self.official_quirks, "official_quirks", "False, because no code was released")

    def _row_counts(self) -> tuple[int, int]:
        return HISTORY + BOX * (self.motion_frames + 1), KNOWN + 1

    def _move(self, block: Floats, dt: float | Floats) -> None:
        """Keep the last box: tracks move from there in :meth:`_predict`."""

    def _predict(self, table: TrackTable, dt: float) -> Floats:
        super()._predict(table, dt)
        moved = table.values[P] + table.values[V] * table.values[ELAPSED]
        moved[2:] = np.maximum(moved[2:], 0.5 * table.values[P][2:])  # a shrinking box keeps a size
        return self.layout.corners(moved)

    def _match(
        self, table: TrackTable, corners: Floats, frame: FrameDetections, index: Integers, confident: int
    ) -> tuple[Integers, Integers, Integers]:
        none = np.zeros(0, np.int64)
        if not len(table) or not len(index):
            return none, none, none
        overlap = self._overlap(table, corners, frame, index, self.buffer)
        columns, rows, _ = self._assign(overlap, overlap)
        left = np.setdiff1d(np.arange(len(table)), columns)
        unused = np.setdiff1d(np.arange(len(index)), rows)
        if len(left) and len(unused):
            overlap = self._overlap(table, corners, frame, index, self.buffer_second)[np.ix_(left, unused)]
            c, r, _ = self._assign(overlap, overlap)
            columns, rows = np.concatenate([columns, left[c]]), np.concatenate([rows, unused[r]])
        return columns, rows, none

    def _overlap(
        self, table: TrackTable, corners: Floats, frame: FrameDetections, index: Integers, buffer: float
    ) -> Floats:
        """Return the buffered IoU ``(N, M)``, or 1 - cost for another cost."""
        large = FrameDetections(_enlarge(frame.boxes, buffer), frame.scores, frame.classes, frame.embeddings)
        return 1.0 - self._all_costs(table, _enlarge(corners, buffer), large, index)

    def _observe(
        self, table: TrackTable, columns: Integers, frame: FrameDetections, rows: Integers, index: Integers
    ) -> None:
        super()._observe(table, columns, frame, rows, index)
        self._remember(table, columns, self.layout.measure(frame.boxes.take(rows, 1)))

    def _remember(self, table: TrackTable, columns: Integers, measured: Floats) -> None:
        """Store the detections of this frame, and update box and motion of their tracks."""
        values = table.values
        past = values[HISTORY:, columns]
        past[BOX:] = past[:-BOX].copy()
        past[0], past[1:BOX] = table.clock, measured
        values[HISTORY:, columns] = past
        values[P, columns] = measured
        # The sum of steps is the difference of two detections.
        known = np.minimum(table.labels[KNOWN, columns], self.motion_frames)
        table.labels[KNOWN, columns] += 1
        first = past.reshape(-1, BOX, len(columns))[known, :, np.arange(len(columns))].T
        duration = np.where(known > 0, table.clock - first[0], 1.0)
        values[V, columns] = np.where(known > 0, (measured - first[1:]) / duration, 0.0)

    def _begin(self, table: TrackTable, columns: Integers, boxes: Floats) -> None:
        self._remember(table, columns, self.layout.measure(boxes))


def _enlarge(corners: Floats, buffer: float) -> Floats:
    """Return boxes ``(4, N)`` with ``buffer`` of their width and height added on every side."""
    margin = buffer * (corners[2:] - corners[:2])
    return np.concatenate([corners[:2] - margin, corners[2:] + margin])
