"""ByteTrack: match confident detections first, then let weak ones keep tracks alive (Zhang et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mot_core.association.assignment import assign
from mot_core.association.base import (
    CLASS,
    ELAPSED,
    FIRST_FREE_LABEL,
    FIRST_FREE_VALUE,
    OnlineTracker,
    Preset,
    TrackTable,
)
from mot_core.association.costs import overlap_matrix, pixel_iou_cost
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import BYTETRACK_NOISE, FILTER_ROWS, BatchedKalman, MotionNoise, P, V
from mot_core.association.layouts import CenterAspectHeight, Layout
from mot_core.association.motion import read_motion

START = FIRST_FREE_VALUE
STATE, EXPIRED = FIRST_FREE_LABEL, FIRST_FREE_LABEL + 1
TRACKED, LOST, UNCONFIRMED = 0, 1, 2


@dataclass(kw_only=True, eq=False)
class ByteTrack(OnlineTracker):
    """ByteTrack (Zhang et al., ECCV 2022, arXiv:2110.06864), with all tracks in one batch.

    Confident detections are matched to tracked and lost tracks by IoU times score, then weak detections to the
    remaining tracked tracks by IoU. A new track is reported from its second detection (immediately in the first frame).

    Args:
        track_threshold: Detections above this score are confident and matched first.
        low_threshold: Detections between this score and ``track_threshold`` can only continue existing tracks. Lower
            values bridge more occlusions but risk matching false detections.
        birth_threshold: Unmatched detections with at least this score start a track.
        max_cost: Highest cost, 1 - IoU x score, of a confident match.
        max_cost_low: Highest cost, 1 - IoU, of a weak match.
        max_cost_unconfirmed: Highest cost of the second detection of a new track.
        max_age: Number of frames for which a lost track is kept. Higher values bridge longer occlusions but risk
            identity switches.
        fuse_score: Whether to multiply the IoU of confident matches by the score (off in the official MOT20 setting).
        duplicate_iou: If a tracked and a lost track of one class overlap by more than this, the younger one is dropped.
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

    >>> tracker = ByteTrack()
    >>> for x in (0, 5, 10):
    ...     tracks = tracker.update(np.array([[x, 0, x + 40, 80]]), np.array([0.9]))
    >>> tracks.ids, tracks.boxes_xyxy.round(1)
    (array([1]), array([[10.,  0., 50., 80.]]))
    """

    layout: ClassVar[Layout] = CenterAspectHeight()
    size_velocity: ClassVar[slice] = slice(V.start + 3, V.stop)  # rows of the velocities that lost tracks do not keep
    table_rows: ClassVar[tuple[int, int]] = (FIRST_FREE_VALUE + 1, FIRST_FREE_LABEL + 2)
    score_thresholds: ClassVar[tuple[str, ...]] = ("track_threshold", "low_threshold", "birth_threshold")
    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "default": Preset(benchmark={"MOT20": {"fuse_score": False}}),
        "official": Preset(
            {
                "official_quirks": True,
                "report": "filter",
                "cost": pixel_iou_cost,
                "min_area": 100.0,
                "max_aspect": 1.6,
            },
            benchmark={"MOT20": {"fuse_score": False}},
            sequence={"MOT17-05": {"max_age": 14}, "MOT17-13": {"max_age": 25}},
        ),
    }

    track_threshold: float = 0.6
    low_threshold: float = 0.1
    birth_threshold: float = 0.7
    max_cost: float = 0.9
    max_cost_low: float = 0.5
    max_cost_unconfirmed: float = 0.7
    max_age: float = 30
    fuse_score: bool = True
    duplicate_iou: float = 0.85
    official_quirks: bool = False
    motion: str = ""
    noise: MotionNoise = BYTETRACK_NOISE

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_cost", "max_cost_low", "max_cost_unconfirmed"):
            # Forbidden pairs (different classes, no overlap) cost 1.
            self._refuse_unless(0 < getattr(self, name) <= 1, name, "above 0 and at most 1")
        self._refuse_unless(self.low_threshold <= self.track_threshold, "low_threshold", "at most track_threshold")
        self._refuse_unless(self.max_age >= 0, "max_age", "0 or more frames")
        self._refuse_unless(0 < self.duplicate_iou <= 1, "duplicate_iou", "above 0 and at most 1")
        if self.motion:
            self._kalman = BatchedKalman(read_motion(self.motion).noise(self.noise))

    def _step(self, table: TrackTable, frame: FrameDetections, dt: float) -> tuple[Integers, Floats]:
        frame, index, confident = self._sort_detections(frame)
        state = table.labels[STATE]
        tracked = int(np.count_nonzero(state == TRACKED))
        old = tracked + int(np.count_nonzero(state == LOST))  # columns: tracked, lost, unconfirmed
        corners = self._predict(table, tracked, old, dt)
        columns, rows = self._match(table, corners, frame, index, confident, tracked, old)
        if len(columns):
            self._observe(table, columns, frame, rows, index)
        self._age(table, columns, tracked)
        self._give_birth(table, frame, rows, index, confident)
        return self._report(table)

    def _sort_detections(self, frame: FrameDetections) -> tuple[FrameDetections, Integers, int]:
        """Return confident detections followed by weak ones, their rows in the input, and the confident count."""
        scores = frame.scores
        high = scores > self.track_threshold
        low = scores > self.low_threshold
        # In the official code, a score exactly equal to the threshold is neither confident nor weak.
        low &= scores < self.track_threshold if self.official_quirks else ~high
        first = high.nonzero()[0]
        index = np.concatenate([first, low.nonzero()[0]])
        return frame.rows(index), index, len(first)

    def _predict(self, table: TrackTable, tracked: int, old: int, dt: float) -> Floats:
        values = table.values
        values[ELAPSED] += dt
        block = values[:FILTER_ROWS]
        block[self.size_velocity, tracked:old] = 0.0  # lost tracks keep their size
        moving = block[:, :old] if self.official_quirks else block
        self._kalman.predict(moving, self.layout.heights(moving[P]), dt)
        return self.layout.corners(block[P])

    def _match(
        self,
        table: TrackTable,
        corners: Floats,
        frame: FrameDetections,
        index: Integers,
        confident: int,
        tracked: int,
        old: int,
    ) -> tuple[Integers, Integers]:
        """Run the three associations; return columns of the table and rows of the sorted detections."""
        if not len(table) or not len(index):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        cost = self._all_costs(table, corners, frame, index)
        fused = cost[:, :confident]
        if self.fuse_score:
            fused = 1.0 - (1.0 - fused) * frame.scores[:confident]
        columns, rows = assign(fused[:old], self.max_cost)
        free = np.ones(len(table), bool)
        free[columns] = False
        left = free[:tracked].nonzero()[0]
        if len(left) and confident < len(index):
            c, r = assign(cost[left, confident:], self.max_cost_low)
            columns, rows = np.concatenate([columns, left[c]]), np.concatenate([rows, r + confident])
        if old < len(table):
            unused = np.ones(confident, bool)
            unused[rows[rows < confident]] = False
            open_rows = unused.nonzero()[0]
            c, r = assign(fused[old:, open_rows], self.max_cost_unconfirmed)
            columns, rows = np.concatenate([columns, c + old]), np.concatenate([rows, open_rows[r]])
        return columns, rows

    def _age(self, table: TrackTable, matched: Integers, tracked: int) -> None:
        """Update the states (tracked, lost, removed) after the associations."""
        labels, elapsed = table.labels, table.values[ELAPSED]
        state = labels[STATE]
        alive = elapsed <= self.max_age
        if self.official_quirks:
            # An expired track takes part in one more association; if found then, it is dropped when lost again.
            expired = labels[EXPIRED] == 1
            labels[EXPIRED] |= ~alive
            alive = ~(expired & (elapsed > 0))
        alive &= (state != UNCONFIRMED) | (elapsed == 0)
        new_state = np.where(elapsed == 0, TRACKED, LOST)
        if not alive.all() or (new_state != state).any():
            labels[STATE] = new_state
            keep = alive.nonzero()[0]
            table.select(keep[np.argsort(new_state[keep], kind="stable")])

    def _give_birth(
        self, table: TrackTable, frame: FrameDetections, rows: Integers, index: Integers, confident: int
    ) -> None:
        unused = frame.scores[:confident] >= self.birth_threshold
        unused[rows[rows < confident]] = False
        born = unused.nonzero()[0]
        if len(born):
            values, labels = self._newborn(frame, born, index)
            values[START] = table.clock
            labels[STATE] = TRACKED if table.step == 1 else UNCONFIRMED
            table.append(values, labels, None if frame.embeddings is None else frame.embeddings[born])

    def _report(self, table: TrackTable) -> tuple[Integers, Floats]:
        """Drop duplicates among tracked and lost tracks, then report the tracked ones."""
        corners = self.layout.corners(table.values[P])
        lost = table.labels[STATE] == LOST
        if lost.any():
            seen, unseen = (~lost).nonzero()[0], lost.nonzero()[0]
            pixel = 1.0 if self.official_quirks else 0.0
            overlap = overlap_matrix(corners.take(seen, 1), corners.take(unseen, 1), pixel)
            if len(seen) and overlap.max() > self.duplicate_iou:
                label = table.labels[CLASS]
                same = label[seen][:, None] == label[unseen]
                a, b = np.nonzero((overlap > self.duplicate_iou) & same)
                a, b = seen[a], unseen[b]
                duration = table.clock - table.values[ELAPSED] - table.values[START]
                a_is_older = duration[a] > duration[b]
                keep = np.ones(len(table), bool)
                keep[b[a_is_older]] = False
                keep[a[~a_is_older]] = False
                kept = keep.nonzero()[0]
                table.select(kept)
                corners = corners.take(kept, 1)
        columns = (table.labels[STATE] == TRACKED).nonzero()[0]
        return columns, corners.take(columns, 1)
