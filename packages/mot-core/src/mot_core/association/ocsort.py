"""OC-SORT: SORT centered on observations instead of predictions (Cao et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mot_core.association.assignment import assign_overlap, assign_then_threshold
from mot_core.association.base import CLASS, ELAPSED, FIRST_FREE_VALUE, Preset, TrackTable
from mot_core.association.costs import overlap_matrix
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import FILTER_ROWS, P
from mot_core.association.layouts import CenterSize
from mot_core.association.sort import CONFIRMED, Sort

LAST = slice(FIRST_FREE_VALUE, FIRST_FREE_VALUE + 4)  # corners of the last detection
DIRECTION = slice(LAST.stop, LAST.stop + 2)  # unit vector (x, y) of the motion between detections
FROZEN = slice(DIRECTION.stop, DIRECTION.stop + FILTER_ROWS)  # filter state in the first frame of a gap
HISTORY = FROZEN.stop  # ring buffer: corners of the detections of this frame and the delta_t frames before
# MISSED: frames since the last detection (ELAPSED is time); SEEN: ring buffer like HISTORY, 1 where a detection exists
SIGHT, MISSED, SEEN = CONFIRMED + 1, CONFIRMED + 2, CONFIRMED + 3
NEVER, VISIBLE, HIDDEN = 0, 1, 2


@dataclass(kw_only=True, eq=False)
class OCSort(Sort):
    """OC-SORT (Cao et al., CVPR 2023, arXiv:2203.14360), with all tracks in one batch.

    Adds to SORT a bonus for detections in the direction of motion (OCM), a second match against the last *detected*
    box (OCR), and a filter that is replayed along a straight line when a track is found again (ORU).

    Args:
        score_threshold: Detections above this score are confident.
        low_threshold: With ``use_byte``, detections between this score and ``score_threshold`` can continue tracks.
        iou_threshold: Lowest IoU of a track and its detection. Higher values match fewer pairs.
        max_age: Number of frames for which a track without detections is kept. Higher values bridge longer occlusions
            but risk identity switches.
        min_hits: Number of consecutive detections, after the first, that a track needs before it is reported (none in
            the first frames of a stream).
        delta_t: Number of frames over which the direction of motion is measured.
        inertia: Weight of the direction of motion. Higher values favor detections straight ahead over those with
            larger overlap.
        use_byte: Whether weak detections can continue tracks, as in ByteTrack.
        official_quirks: Whether to reproduce the deviations of the official code from the paper (see docs/parity.md).
        frame_rate: Nominal frames per second, used to convert timestamps (seconds) into frames.
        min_area: Tracks with a box of at most this area (square pixels) are not reported.
        max_aspect: Tracks with a larger width / height than this are not reported.
        cost: Association cost between tracks and detections: ``iou``, ``pixel_iou`` (boxes include their last pixel),
            ``NAME:FILE`` for a learned cost such as lamotr:cost.pt, or in Python a function.
        report: Boxes of the reported tracks: ``detection`` for their detections, ``filter`` for the filter's estimates.
            Detections score higher HOTA where boxes move fast.
        motion: File with learned noise of center and velocity, which replaces that part of ``noise``.
        noise: Standard deviations of the Kalman filter.

    >>> tracker = OCSort()
    >>> for x in (0, 5, 10):
    ...     tracks = tracker.update(np.array([[x, 0, x + 40, 80]]), np.array([0.9]))
    >>> tracks.ids, tracks.boxes_xyxy
    (array([1]), array([[10.,  0., 50., 80.]]))
    """

    _OFFICIAL: ClassVar[Mapping[str, object]] = {"official_quirks": True, "min_area": 100.0, "max_aspect": 1.6}
    _DANCE: ClassVar[Mapping[str, Mapping[str, object]]] = {"DanceTrack": {"max_aspect": float("inf")}}
    PRESETS: ClassVar[Mapping[str, Preset]] = {
        "default": Preset(),
        "official": Preset(_OFFICIAL, benchmark=_DANCE),
        "official:byte": Preset({**_OFFICIAL, "use_byte": True}, benchmark=_DANCE),
    }

    low_threshold: float = 0.1
    delta_t: int = 3
    inertia: float = 0.2
    use_byte: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(self.delta_t >= 1, "delta_t", "at least 1 frame")
        # The direction adds at most half of inertia; above twice iou_threshold it could outweigh any overlap.
        self._refuse_unless(0 <= self.inertia < 2 * self.iou_threshold, "inertia", "0 or more, below 2 * iou_threshold")

    @property
    def score_thresholds(self) -> tuple[str, ...]:  # type: ignore[override]  # a class variable of the base
        """Names of the parameters that are thresholds on scores in [0, 1]."""
        return ("score_threshold", "low_threshold") if self.use_byte else ("score_threshold",)

    def _row_counts(self) -> tuple[int, int]:
        slots = self.delta_t + 1
        return HISTORY + 4 * slots, SEEN + slots

    def _predict(self, table: TrackTable, dt: float) -> Floats:
        table.labels[MISSED] += 1
        table.labels[SEEN + table.step % (self.delta_t + 1)] = 0
        return super()._predict(table, dt)

    def _sort_detections(self, frame: FrameDetections) -> tuple[FrameDetections, Integers, int]:
        scores = frame.scores
        sure = scores > self.score_threshold
        index = sure.nonzero()[0]
        confident = len(index)
        if self.use_byte:
            weak = scores > self.low_threshold
            weak &= scores < self.score_threshold if self.official_quirks else ~sure
            index = np.concatenate([index, weak.nonzero()[0]])
        return frame.rows(index), index, confident

    def _match(
        self, table: TrackTable, corners: Floats, frame: FrameDetections, index: Integers, confident: int
    ) -> tuple[Integers, Integers, Integers]:
        none = np.zeros(0, np.int64)
        if not len(table) or not len(index):
            return none, none, none
        overlap = 1.0 - self._all_costs(table, corners, frame, index)
        sure = overlap[:, :confident]
        columns, rows, dropped = none, none, none
        if confident:
            columns, rows, dropped = self._assign(sure + self._momentum(table, frame, confident), sure)
        free = np.ones(len(table), bool)
        free[columns] = False
        if confident < len(index):
            left = free.nonzero()[0]
            c, r = self._assign_left(overlap[left, confident:])
            free[left[c]] = False
            columns, rows = np.concatenate([columns, left[c]]), np.concatenate([rows, r + confident])
        unused = np.ones(len(index), bool)
        unused[rows] = False
        left, open_rows = free.nonzero()[0], unused[:confident].nonzero()[0]
        if len(left) and len(open_rows):
            found = overlap_matrix(table.values[LAST, left], frame.boxes[:, open_rows])
            if frame.classes is not None:
                found *= table.labels[CLASS, left][:, None] == frame.classes[open_rows]
            if (found > self.iou_threshold).any():
                dropped = none  # the official code renumbers the unmatched detections in this stage
            c, r = self._assign_left(found)
            columns, rows = np.concatenate([columns, left[c]]), np.concatenate([rows, open_rows[r]])
        return columns, rows, dropped

    def _assign_left(self, overlap: Floats) -> tuple[Integers, Integers]:
        """Match the remaining tracks and detections by overlap only."""
        if not overlap.size or overlap.max() <= self.iou_threshold:
            none = np.zeros(0, np.int64)
            return none, none
        if self.official_quirks:
            return assign_then_threshold(overlap, overlap, self.iou_threshold)[:2]
        return assign_overlap(overlap, overlap, self.iou_threshold)

    def _previous(self, table: TrackTable) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return the detection ``delta_t`` frames ago, else the next later, else the last; and whether one exists."""
        values, labels = table.values, table.labels
        previous = values[LAST]
        for age in range(1, self.delta_t + 1):
            slot = (table.step - age) % (self.delta_t + 1)
            box = values[HISTORY + 4 * slot : HISTORY + 4 * slot + 4]
            previous = np.where(labels[SEEN + slot] == 1, box, previous)
        return previous, labels[SIGHT] != NEVER

    def _momentum(self, table: TrackTable, frame: FrameDetections, confident: int) -> Floats:
        """Return ``inertia`` x score x direction agreement (in [-1/2, 1/2]) of all tracks and confident detections."""
        previous, known = self._previous(table)
        detected = frame.boxes[:, :confident]
        way = (detected[:2] + detected[2:])[:, None, :] - (previous[:2] + previous[2:])[:, :, None]
        way *= 0.5
        length = np.sqrt(way[0] * way[0] + way[1] * way[1]) + 1e-6
        direction = table.values[DIRECTION]
        cosine = (direction[0][:, None] * way[0] + direction[1][:, None] * way[1]) / length
        agreement = 0.5 - np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi
        agreement *= (known * self.inertia)[:, None]
        agreement *= frame.scores[:confident]
        return agreement

    def _miss(self, table: TrackTable, matched: Integers) -> None:
        """Store the filter state of every track that has just been lost."""
        sight = table.labels[SIGHT]
        gone = sight == VISIBLE
        gone[matched] = False
        if gone.any():
            table.values[FROZEN, gone] = table.values[:FILTER_ROWS, gone]
            sight[gone] = HIDDEN

    def _observe(
        self, table: TrackTable, columns: Integers, frame: FrameDetections, rows: Integers, index: Integers
    ) -> None:
        values, labels = table.values, table.labels
        boxes = frame.boxes[:, rows]
        previous, known = self._previous(table)
        moved = columns[known[columns]]
        if len(moved):
            way = boxes[:, known[columns]] - previous[:, moved]
            way = (way[:2] + way[2:]) * 0.5
            values[DIRECTION, moved] = way / (np.sqrt(way[0] * way[0] + way[1] * way[1]) + 1e-6)
        found = labels[SIGHT, columns] == HIDDEN
        if found.any():
            self._replay(table, columns[found], boxes[:, found])
        self._remember(table, columns, boxes)
        super()._observe(table, columns, frame, rows, index)

    def _remember(self, table: TrackTable, columns: Integers, boxes: Floats) -> None:
        values, labels = table.values, table.labels
        slot = table.step % (self.delta_t + 1)
        labels[SEEN + slot, columns] = 1
        values[HISTORY + 4 * slot : HISTORY + 4 * slot + 4, columns] = boxes
        values[LAST, columns] = boxes
        labels[SIGHT, columns] = VISIBLE
        labels[MISSED, columns] = 0

    def _replay(self, table: TrackTable, columns: Integers, boxes: Floats) -> None:
        """Observation-centric re-update: rerun the filter along the line from the last detection to this one."""
        values = table.values
        order = np.argsort(-table.labels[MISSED, columns], kind="stable")  # long gaps first: the unfinished are a slice
        columns = columns[order]
        start, end = (CenterSize().measure(each) for each in (values[LAST].take(columns, 1), boxes.take(order, 1)))
        gap = table.labels[MISSED].take(columns)
        pace = values[ELAPSED].take(columns) / gap
        block = values[FROZEN].take(columns, 1)
        # The last virtual detection is the real one, which the caller applies; the official code applies it twice.
        count = gap if self.official_quirks else gap - 1
        for i in range(int(count.max(initial=0))):
            going = np.count_nonzero(count > i)
            x, y, w, h = start[:, :going] + (i + 1) / gap[:going] * (end[:, :going] - start[:, :going])
            state = block[:, :going]
            state[:] = self._kalman.update(state, np.stack([x, y, w * h, w / h]), self.layout.heights(state[P]))
            ahead = np.count_nonzero(gap > i + 1)
            self._move(block[:, :ahead], pace[:ahead])
        values[:FILTER_ROWS, columns] = block

    def _begin(self, table: TrackTable, columns: Integers, boxes: Floats) -> None:
        if self.official_quirks:  # the official code does not count the first detection as an observation
            table.values[LAST, columns] = -1.0
        else:
            self._remember(table, columns, boxes)
