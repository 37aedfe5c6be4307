"""Association of FairMOT: appearance and motion first, then overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mot_core.association.assignment import assign
from mot_core.association.base import CLASS, Preset, TrackTable
from mot_core.association.bytetrack import ByteTrack
from mot_core.association.costs import DetectionBatch, TrackBatch, overlap_matrix
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import FILTER_ROWS

GATE = 9.4877  # 95 % quantile of the chi-square distribution with four degrees of freedom


@dataclass(kw_only=True, eq=False)
class AppearanceTrack(ByteTrack):
    """Association of FairMOT (Zhang et al., IJCV 2021, section 4.5), with all tracks in one batch.

    The first association compares embeddings, within the gate of the motion model; the cost is ``w (1 - cosine) +
    (1 - w) d^2`` with the squared Mahalanobis distance ``d^2`` of the Kalman filter, for ``d^2`` up to its 95 %
    quantile. Remaining tracks are matched by overlap. The embedding of a track is a moving average. States of tracks
    and births are those of ByteTrack, without weak detections.

    Args:
        appearance_weight: Weight ``w`` of the appearance.
        smoothing: Share of the earlier embedding in the moving average. Higher values change it more slowly.
        max_cost: Highest cost of the first association.
        max_cost_low: Highest cost, 1 - IoU, of the second association.

    >>> tracker, box = AppearanceTrack(), np.array([[0.0, 0.0, 40.0, 80.0]])
    >>> for x in (0, 5, 10):
    ...     tracks = tracker.update(box + [x, 0, x, 0], np.array([0.9]), embeddings=np.array([[1.0, 0.0]]))
    >>> tracks.ids
    array([1])
    """

    PRESETS: ClassVar[dict[str, Preset]] = {"default": Preset()}

    track_threshold: float = 0.4
    low_threshold: float = 0.4
    birth_threshold: float = 0.4
    max_cost: float = 0.4
    appearance_weight: float = 0.98
    smoothing: float = 0.9

    def __post_init__(self) -> None:
        if isinstance(self.cost, str):
            self.cost = self._fused_cost
        self._fused = np.zeros((0, 0))
        super().__post_init__()
        for name in ("appearance_weight", "smoothing"):
            self._refuse_unless(0 <= getattr(self, name) <= 1, name, "from 0 to 1")

    @property
    def uses_embeddings(self) -> bool:
        """Whether :meth:`update` requires embeddings: always."""
        return True

    def _fused_cost(self, tracks: TrackBatch, detections: DetectionBatch) -> Floats:
        """Return the cost of appearance and motion, which :meth:`_match` has computed."""
        return self._fused

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
        if not len(table) or not len(index):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._fused = self._fuse(table, frame)
        overlap = 1.0 - overlap_matrix(corners, frame.boxes)
        if frame.classes is not None:
            overlap = np.where(table.labels[CLASS][:, None] == frame.classes, overlap, 1.0)
        cost = self._all_costs(table, corners, frame, index)
        columns, rows = assign(cost[:old, :confident], self.max_cost)
        for first, last, limit in ((0, tracked, self.max_cost_low), (old, len(table), self.max_cost_unconfirmed)):
            free = np.setdiff1d(np.arange(first, last), columns)
            unused = np.setdiff1d(np.arange(confident), rows)
            c, r = assign(overlap[np.ix_(free, unused)], limit)
            columns, rows = np.concatenate([columns, free[c]]), np.concatenate([rows, unused[r]])
        return columns, rows

    def _fuse(self, table: TrackTable, frame: FrameDetections) -> Floats:
        """Return the cost ``(N, M)`` of appearance and motion; pairs outside of the gate cost infinity."""
        assert table.embeddings is not None, "update() requires embeddings"
        assert frame.embeddings is not None, "update() requires embeddings"
        block = table.values[:FILTER_ROWS]
        motion = self._kalman.distance(block, self.layout.measure(frame.boxes), self.layout.heights(block[:4]))
        appearance = np.maximum(0.0, 1.0 - table.embeddings @ frame.embeddings.T)
        weight = self.appearance_weight
        return np.where(motion <= GATE, weight * appearance + (1 - weight) * motion, np.inf)

    def _observe(
        self, table: TrackTable, columns: Integers, frame: FrameDetections, rows: Integers, index: Integers
    ) -> None:
        assert table.embeddings is not None, "update() requires embeddings"
        earlier = table.embeddings[columns]
        super()._observe(table, columns, frame, rows, index)
        mean = self.smoothing * earlier + (1 - self.smoothing) * table.embeddings[columns]
        table.embeddings[columns] = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
