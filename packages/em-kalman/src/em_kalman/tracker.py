"""Online tracking with a learned association (specification 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from em_kalman.checkpoint import load_model
from em_kalman.matching import FrameAssociation
from em_kalman.model import NeuralKalmanFilter
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
from mot_core.association.frame import Floats, Frame, Integers
from mot_core.association.kalman import BYTETRACK_NOISE, FILTER_ROWS, PP, BatchedKalman, MotionNoise, P, V
from mot_core.association.layouts import CentreAspectHeight, Layout
from mot_core.association.motion import read_motion

HITS = FIRST_FREE_LABEL  # detections after the first
NEVER = -1e9  # a score


@dataclass(kw_only=True, eq=False)
class OnlineAssociator(OnlineTracker):
    """Tracks by a learned association: the likeliest matching, in which any track and detection may have no partner.

    It is what the plan of the model (:func:`mot_core.ops.sinkhorn`) becomes at temperature 0. Tracks move by a Kalman
    filter with the noise that the model knows. The network learned how far objects go from one frame to the next. A
    track that was lost, or that comes after a longer time, is less sure of its place: its distances count the less, and
    so does each of its many possible places. No threshold on a score of the network is set by hand.

    Args:
        checkpoint: file of ``mot fit --config em_kalman_mot17`` or :func:`em_kalman.save_model`.
        min_score: detections below this score are ignored; scores may have any scale.
        max_age: frames for which a track without detections is kept.
        min_hits: detections in a row after its first that a track needs to be reported (in the first frame of a stream
            it needs none); a track that misses one of these is dropped.
        frame_rate: nominal frames per second, to turn timestamps (seconds) into frames.
        min_area: tracks whose box is not larger than this (square pixels) are not reported.
        max_aspect: tracks whose width / height is larger than this are not reported.
        noise: standard deviations of the Kalman filter, of which those of the size are used.
        motion: file with learned noise of centre and velocity; by default that of the model.
        model: a trained model, in place of ``checkpoint``; only its association and motion are used.

    Raises:
        ValueError: there is no model, or one without a dustbin or with embeddings.

    >>> tracker = OnlineAssociator(model=NeuralKalmanFilter())
    >>> tracker.update(np.array([[0, 0, 40, 80]]), np.array([0.9])).ids
    array([1])
    """

    layout: ClassVar[Layout] = CentreAspectHeight()
    table_rows: ClassVar[tuple[int, int]] = (FIRST_FREE_VALUE, HITS + 1)
    PRESETS: ClassVar[Mapping[str, Preset]] = {}

    checkpoint: str = ""
    min_score: float = float("-inf")
    max_age: float = 30
    min_hits: int = 1
    noise: MotionNoise = BYTETRACK_NOISE
    motion: str = ""
    model: NeuralKalmanFilter | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(self.max_age >= 0, "max_age", "0 or more frames")
        self._refuse_unless(self.min_hits >= 0, "min_hits", "0 or more detections")
        if self.model is None:
            if not self.checkpoint:
                raise ValueError("OnlineAssociator needs a trained model: --checkpoint FILE, or model=...")
            self.model = load_model(self.checkpoint)
        self._association = FrameAssociation(self.model)
        motion = read_motion(self.motion) if self.motion else self.model.learned_motion().for_trackers()
        self._kalman = BatchedKalman(motion.noise(self.noise))

    def _step(self, table: TrackTable, frame: Frame, dt: float) -> tuple[Integers, Floats]:
        index = (frame.scores >= self.min_score).nonzero()[0]
        frame = frame.rows(index)
        self._predict(table, dt)
        columns, rows = self._match(table, frame)
        if len(columns):
            self._observe(table, columns, frame, rows, index)
            table.labels[HITS, columns] += 1
        elapsed = table.values[ELAPSED]
        kept = (elapsed == 0) | ((elapsed <= self.max_age) & (table.labels[HITS] >= self.min_hits))
        table.select(kept.nonzero()[0])
        unused = np.ones(len(index), bool)
        unused[rows] = False
        if unused.any():
            values, labels = self._newborn(frame, unused.nonzero()[0], index)
            labels[HITS] = self.min_hits if table.step == 1 else 0
            table.append(values, labels)
        reported = (table.values[ELAPSED] == 0) & (table.labels[HITS] >= self.min_hits)
        return reported.nonzero()[0], self.layout.corners(table.values[P][:, reported])

    def _predict(self, table: TrackTable, dt: float) -> None:
        values = table.values
        lost = values[ELAPSED] > 0
        values[V.start + 2 : V.stop, lost] = 0.0  # the size of a lost track stays
        self._kalman.predict(values[:FILTER_ROWS], self.layout.heights(values[P]), dt)
        values[ELAPSED] += dt

    def _match(self, table: TrackTable, frame: Frame) -> tuple[Integers, Integers]:
        """Columns of the table and rows of the detections."""
        if not len(table) or not len(frame.scores):
            none = np.zeros(0, np.int64)
            return none, none
        places, detected = table.values[P], self.layout.measure(frame.boxes)
        share = self._usual_share(table)
        near = np.repeat(places[:, :, None], len(frame.scores), 2)
        near[:2] = detected[:2, None] + share[:, None] * (places[:2, :, None] - detected[:2, None])
        corners = self.layout.corners(near.reshape(4, -1)).reshape(near.shape)
        scores = self._association.scores(corners, frame.boxes[:, None])
        # The density of a normal distribution in the plane, as wide as the track is unsure.
        scores += 2 * np.log(share)[:, None]
        if frame.classes is not None:
            scores[table.labels[CLASS][:, None] != frame.classes] = NEVER
        # Matched, a pair saves its two places without partner, and their two dustbins a pair of their own.
        return assign(-scores, -self._association.dustbin)

    def _usual_share(self, table: TrackTable) -> Floats:
        """How unsure a track is of its place one frame after its first detection, by how unsure it is now; at most 1.

        From one frame to the next is what the network learned.
        """
        block = self._kalman.start(table.values[P], self.layout.heights(table.values[P]))
        self._kalman.predict(block, self.layout.heights(block[P]))
        return np.sqrt(np.minimum(block[PP][0] / table.values[PP][0], 1.0))
