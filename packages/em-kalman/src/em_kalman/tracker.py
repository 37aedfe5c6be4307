"""Online tracking with a learned association (specification 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from em_kalman.checkpoint import load_model
from em_kalman.features import pairwise_box_features
from em_kalman.model import NeuralKalmanFilter
from mot_core.association.assignment import assign
from mot_core.association.base import CLASS, ELAPSED, OnlineTracker, Preset, TrackTable
from mot_core.association.frame import Floats, Frame, Integers
from mot_core.association.kalman import BYTETRACK_NOISE, MotionNoise, P, V
from mot_core.association.layouts import CentreAspectHeight, Layout
from mot_core.ops import sinkhorn

OLD_SHARE = 0.7  # of the velocity so far in the next one
FORBIDDEN = 1e6  # cost; the Hungarian method then still prefers many pairs


@dataclass(kw_only=True, eq=False)
class OnlineAssociator(OnlineTracker):
    """Tracks by a learned association: a pair is one object if that is likelier than having no partner, on both sides.

    A track is predicted by its last box and a running mean of its velocity. No threshold is set by hand.

    Args:
        checkpoint: file of :func:`em_kalman.save_model`.
        min_score: detections below this score are ignored; scores may have any scale.
        max_age: frames for which a track without detections is kept.
        frame_rate: nominal frames per second, to turn timestamps (seconds) into frames.
        min_area: tracks whose box is not larger than this (square pixels) are not reported.
        max_aspect: tracks whose width / height is larger than this are not reported.
        model: a trained model, in place of ``checkpoint``; only its association is used.

    Raises:
        ValueError: there is no model, or one without a dustbin or with embeddings.

    >>> tracker = OnlineAssociator(model=NeuralKalmanFilter())
    >>> tracker.update(np.array([[0, 0, 40, 80]]), np.array([0.9])).ids
    array([1])
    """

    layout: ClassVar[Layout] = CentreAspectHeight()
    PRESETS: ClassVar[Mapping[str, Preset]] = {}

    checkpoint: str = ""
    min_score: float = float("-inf")
    max_age: float = 5
    noise: MotionNoise = BYTETRACK_NOISE  # of the base's filter, which is not used
    model: NeuralKalmanFilter | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(self.max_age >= 0, "max_age", "0 or more frames")
        if self.model is None:
            if not self.checkpoint:
                raise ValueError("OnlineAssociator needs a trained model: --checkpoint FILE, or model=...")
            self.model = load_model(self.checkpoint)
        if self.model.dustbin is None or self.model.embeddings:
            raise ValueError("OnlineAssociator needs a model with a dustbin and without embeddings")

    def _step(self, table: TrackTable, frame: Frame, dt: float) -> tuple[Integers, Floats]:
        index = (frame.scores >= self.min_score).nonzero()[0]
        frame = frame.rows(index)
        values = table.values
        values[ELAPSED] += dt
        predicted = values[P].copy()
        predicted[:2] += values[V][:2] * values[ELAPSED]
        columns, rows = self._match(table, self.layout.corners(predicted), frame)
        if len(columns):
            moved = self.layout.measure(frame.boxes.take(rows, 1))[:2] - values[:2, columns]
            speed = values[V][:2, columns]
            speed = OLD_SHARE * speed + (1 - OLD_SHARE) * moved / values[ELAPSED, columns]
            self._observe(table, columns, frame, rows, index)
            # The last box itself, not the filtered one.
            values[P, columns] = self.layout.measure(frame.boxes.take(rows, 1))
            values[V, columns] = 0.0
            values[V.start : V.start + 2, columns] = speed
        unused = np.ones(len(index), bool)
        unused[rows] = False
        if unused.any():
            table.append(*self._newborn(frame, unused.nonzero()[0], index))
        table.select((table.values[ELAPSED] <= self.max_age).nonzero()[0])
        reported = (table.values[ELAPSED] == 0).nonzero()[0]
        return reported, self.layout.corners(table.values[P, reported])

    @torch.no_grad()
    def _match(self, table: TrackTable, corners: Floats, frame: Frame) -> tuple[Integers, Integers]:
        """Columns of the table and rows of the detections."""
        model = self.model
        assert model is not None
        if not len(table) or not len(frame.scores):
            none = np.zeros(0, np.int64)
            return none, none
        assert model.dustbin is not None
        device = model.dustbin.device
        earlier, later = (
            torch.as_tensor(boxes.T, dtype=torch.float32, device=device) for boxes in (corners, frame.boxes)
        )
        scores = model.network(pairwise_box_features(earlier, later, inclusive=model.inclusive))
        if frame.classes is not None:
            same = torch.as_tensor(table.labels[CLASS][:, None] == frame.classes, device=device)
            scores = scores.masked_fill(~same, -FORBIDDEN)
        plan = sinkhorn(scores, num_iters=model.num_iters, dustbin=model.dustbin, last=model.last)
        pairs = plan[:-1, :-1]
        allowed = (pairs > plan[:-1, -1:]) & (pairs > plan[-1:, :-1])
        cost = (-scores).masked_fill(~allowed, FORBIDDEN).double().cpu().numpy()
        return assign(cost, FORBIDDEN)
