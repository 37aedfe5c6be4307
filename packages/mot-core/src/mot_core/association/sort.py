"""SORT: a Kalman filter and the Hungarian method (Bewley et al., ICIP 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mot_core.association.assignment import assign_overlap, assign_then_threshold
from mot_core.association.base import (
    ELAPSED,
    FIRST_FREE_LABEL,
    FIRST_FREE_VALUE,
    OnlineTracker,
    Preset,
    TrackTable,
)
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import FILTER_ROWS, SORT_NOISE, BatchedKalman, MotionNoise, P, V
from mot_core.association.layouts import CenterAreaAspect, Layout
from mot_core.association.motion import read_motion

STREAK, CONFIRMED = FIRST_FREE_LABEL, FIRST_FREE_LABEL + 1
AREA, AREA_VELOCITY = P.start + 2, V.start + 2


@dataclass(kw_only=True, eq=False)
class Sort(OnlineTracker):
    """SORT (Bewley et al., ICIP 2016, arXiv:1602.00763), with all tracks in one batch.

    Args:
        score_threshold: Detections up to this score are ignored.
        iou_threshold: Lowest IoU of a track and its detection. Higher values match fewer pairs.
        max_age: Number of frames for which a track without detections is kept. Higher values bridge longer occlusions
            but risk identity switches.
        min_hits: Number of consecutive detections, after the first, that a track needs before it is reported (none in
            the first frames of a stream).
        official_quirks: Whether to reproduce the deviations of the official code from the paper (see docs/parity.md).
        frame_rate: Nominal frames per second, used to convert timestamps (seconds) into frames.
        min_area: Tracks with a box of at most this area (square pixels) are not reported.
        max_aspect: Tracks with a larger width / height than this are not reported.
        cost: Association cost between tracks and detections: ``iou``, ``pixel_iou`` (boxes include their last pixel),
            ``NAME:FILE`` for a learned cost such as lamotr:cost.pt, or in Python a function.
        report: Boxes of the reported tracks: ``detection`` for their detections, ``filter`` for the filter's estimates,
            as in the official code. Detections score higher HOTA where boxes move fast.
        motion: File with learned noise of center and velocity, which replaces that part of ``noise``.
        noise: Standard deviations of the Kalman filter.

    >>> tracker = Sort()
    >>> for x in (0, 5, 10):
    ...     tracks = tracker.update(np.array([[x, 0, x + 40, 80]]), np.array([0.9]))
    >>> tracks.ids, tracks.boxes_xyxy.round(1)
    (array([1]), array([[10.,  0., 50., 80.]]))
    """

    layout: ClassVar[Layout] = CenterAreaAspect()
    table_rows: ClassVar[tuple[int, int]] = (FIRST_FREE_VALUE, CONFIRMED + 1)
    score_thresholds: ClassVar[tuple[str, ...]] = ("score_threshold",)
    _OFFICIAL: ClassVar[Mapping[str, object]] = {"official_quirks": True, "report": "filter"}
    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "default": Preset(),
        "official": Preset({"max_age": 1, **_OFFICIAL}),
        "official:maxage30": Preset({"max_age": 30, **_OFFICIAL}),
    }

    score_threshold: float = 0.6
    iou_threshold: float = 0.3
    max_age: float = 30
    min_hits: int = 3
    official_quirks: bool = False
    motion: str = ""
    noise: MotionNoise = SORT_NOISE

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(0 < self.iou_threshold <= 1, "iou_threshold", "above 0 and at most 1")
        self._refuse_unless(self.max_age >= 0, "max_age", "0 or more frames")
        self._refuse_unless(self.min_hits >= 0, "min_hits", "0 or more detections")
        if self.motion:
            self._kalman = BatchedKalman(read_motion(self.motion).noise(self.noise))

    def _step(self, table: TrackTable, frame: FrameDetections, dt: float) -> tuple[Integers, Floats]:
        frame, index, confident = self._sort_detections(frame)
        corners = self._predict(table, dt)
        columns, rows, dropped = self._match(table, corners, frame, index, confident)
        self._miss(table, columns)
        if len(columns):
            self._observe(table, columns, frame, rows, index)
            table.labels[STREAK, columns] += 1
        self._give_birth(table, frame, rows, dropped, index, confident)
        return self._report(table)

    def _sort_detections(self, frame: FrameDetections) -> tuple[FrameDetections, Integers, int]:
        """Return the detections that take part (confident first), their rows in the input and the confident count."""
        index = (frame.scores > self.score_threshold).nonzero()[0]
        return frame.rows(index), index, len(index)

    def _predict(self, table: TrackTable, dt: float) -> Floats:
        values = table.values
        self._move(values[:FILTER_ROWS], dt)
        table.labels[STREAK, values[ELAPSED] > 0] = 0
        values[ELAPSED] += dt
        return self.layout.corners(values[P])

    def _move(self, block: Floats, dt: float | Floats) -> None:
        """Predict ``block`` in place; the area velocity is set to 0 where the area would become negative."""
        vanishing = block[AREA] + block[AREA_VELOCITY] * dt <= 0
        if vanishing.any():
            block[AREA_VELOCITY, vanishing] = 0.0
        self._kalman.predict(block, self.layout.heights(block[P]), dt)

    def _match(
        self, table: TrackTable, corners: Floats, frame: FrameDetections, index: Integers, confident: int
    ) -> tuple[Integers, Integers, Integers]:
        """Return columns of the table, rows of the detections, and rows dropped by the threshold."""
        if not len(table) or not len(index):
            none = np.zeros(0, np.int64)
            return none, none, none
        overlap = 1.0 - self._all_costs(table, corners, frame, index)
        return self._assign(overlap, overlap)

    def _assign(self, gain: Floats, overlap: Floats) -> tuple[Integers, Integers, Integers]:
        if self.official_quirks:
            return assign_then_threshold(gain, overlap, self.iou_threshold, keep_unique=True)
        return *assign_overlap(gain, overlap, self.iou_threshold), np.zeros(0, np.int64)

    def _miss(self, table: TrackTable, matched: Integers) -> None:
        """Handle tracks without a detection; SORT does nothing."""

    def _give_birth(
        self,
        table: TrackTable,
        frame: FrameDetections,
        rows: Integers,
        dropped: Integers,
        index: Integers,
        confident: int,
    ) -> None:
        unused = np.ones(confident, bool)
        unused[rows[rows < confident]] = False
        unused[dropped] = False
        born = unused.nonzero()[0]
        if len(dropped):  # the official code numbers these last
            born = np.concatenate([born, dropped[~np.isin(dropped, rows)]])
        if len(born):
            old = len(table)
            table.append(*self._newborn(frame, born, index))
            self._begin(table, np.arange(old, len(table)), frame.boxes.take(born, 1))

    def _begin(self, table: TrackTable, columns: Integers, boxes: Floats) -> None:
        """Handle new tracks at ``columns`` with their first boxes ``(4, N)``; SORT does nothing."""

    def _report(self, table: TrackTable) -> tuple[Integers, Floats]:
        elapsed = table.values[ELAPSED]
        alive = elapsed <= self.max_age
        if not alive.all():
            table.select(alive.nonzero()[0])
            elapsed = table.values[ELAPSED]
        reported = elapsed == 0
        if table.step > self.min_hits:
            trusted = table.labels[STREAK] >= self.min_hits
            if not self.official_quirks:  # the official code hides a track for some frames after every gap
                trusted |= table.labels[CONFIRMED] == 1
            reported &= trusted
        columns = reported.nonzero()[0]
        table.labels[CONFIRMED, columns] = 1
        return columns, self.layout.corners(table.values[P, columns])
