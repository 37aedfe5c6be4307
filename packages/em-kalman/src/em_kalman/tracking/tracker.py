"""Online tracking with a learned association (specification 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from em_kalman.checkpoint import load_model
from em_kalman.model import NeuralKalmanFilter
from em_kalman.tracking.matching import FrameAssociation
from mot_core.association.assignment import assign
from mot_core.association.base import (
    CLASS,
    DETECTION,
    ELAPSED,
    FIRST_FREE_LABEL,
    FIRST_FREE_VALUE,
    OnlineTracker,
    Preset,
    TrackTable,
)
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import FILTER_ROWS, BatchedKalman, MotionNoise, P
from mot_core.association.layouts import CentreAspectHeight, Layout
from mot_core.association.motion import read_motion

HITS = FIRST_FREE_LABEL  # detections after the first
NEVER = -1e9  # a score
SEEN, LOST, NEW = (
    0,
    1,
    2,
)  # in the frame before; not in it; in it for the first time: places of ``detection_probability``
# Of the size, which the filter takes as it was last measured: detections change theirs more than they err.
LAST_SIZE = MotionNoise(
    process=((0, 0), (0, 0), (0, 1), (0, 1)),
    process_velocity=((0, 0),) * 4,
    measurement=((0, 0),) * 4,
    initial=((0, 0), (0, 0), (0, 1), (0, 1)),
    initial_velocity=((0, 0),) * 4,
)


@dataclass(kw_only=True, eq=False)
class EMKalmanTracker(OnlineTracker):
    """Tracks by a learned association: the likeliest matching, in which any track and detection may have no partner.

    It is what the plan of the model (:func:`mot_core.ops.sinkhorn`) becomes at temperature 0. Tracks move by a Kalman
    filter with the noise that the model knows, and keep the size of their last detection; the network compares the
    box where a track is now expected with the detections. No threshold on a score of the network is set by hand.

    What a pair gains counts as much as the track is likely to be there, which training has counted: a track that was
    seen in the frame before is likelier to be seen than one that was lost, or that is no more than one detection. What
    is reported are detections as they came.

    Args:
        checkpoint: file of ``mot fit --config em_kalman_mot17`` or :func:`em_kalman.save_model`.
        min_score: detections below this score are ignored; scores may have any scale.
        max_age: frames for which a track without detections is kept.
        min_hits: detections in a row after its first that a track needs to be reported (in the first frame of a stream
            it needs none); a track that misses one of these is dropped.
        frame_rate: nominal frames per second, to turn timestamps (seconds) into frames.
        min_area: tracks whose box is not larger than this (square pixels) are not reported.
        max_aspect: tracks whose width / height is larger than this are not reported.
        noise: standard deviations of the Kalman filter, of which those of the size are used. By default the size is
            that of the last detection.
        motion: file with learned noise of centre and velocity; by default that of the model.
        model: a trained model, in place of ``checkpoint``; with its motion and ``detection_probability``.

    Raises:
        ValueError: there is no model, or one without a dustbin.

    >>> tracker = EMKalmanTracker(model=NeuralKalmanFilter())
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
    noise: MotionNoise = LAST_SIZE
    motion: str = ""
    model: NeuralKalmanFilter | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(self.max_age >= 0, "max_age", "0 or more frames")
        self._refuse_unless(self.min_hits >= 0, "min_hits", "0 or more detections")
        if self.model is None:
            if not self.checkpoint:
                raise ValueError("EMKalmanTracker needs a trained model: --checkpoint FILE, or model=...")
            self.model = load_model(self.checkpoint)
        self._association = FrameAssociation(self.model)
        motion = read_motion(self.motion) if self.motion else self.model.learned_motion().for_trackers()
        self._kalman = BatchedKalman(motion.noise(self.noise))

    @property
    def uses_embeddings(self) -> bool:
        """Whether :meth:`update` needs embeddings: if the model learned from them."""
        assert self.model is not None
        return self.model.embeddings

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state, also one saved when this class was called ``OnlineAssociator``."""
        old = state.get("tracker") == "OnlineAssociator"
        super().load_state_dict({**state, "tracker": type(self).__name__} if old else state)

    def _step(self, table: TrackTable, frame: FrameDetections, dt: float) -> tuple[Integers, Floats]:
        given = frame
        index = (frame.scores >= self.min_score).nonzero()[0]
        frame = frame.rows(index)
        values = table.values
        standing = np.where(values[ELAPSED] > 0, LOST, np.where(table.labels[HITS] < self.min_hits, NEW, SEEN))
        self._kalman.predict(values[:FILTER_ROWS], self.layout.heights(values[P]), dt)
        values[ELAPSED] += dt
        columns, rows = self._match(table, frame, standing)
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
            table.append(values, labels, None if frame.embeddings is None else frame.embeddings[unused])
        reported = ((table.values[ELAPSED] == 0) & (table.labels[HITS] >= self.min_hits)).nonzero()[0]
        return reported, given.boxes[:, table.labels[DETECTION, reported]]

    def _cosine(self, table: TrackTable, frame: FrameDetections) -> Floats | None:
        """Of the last detections of the tracks and those of the frame, as in training."""
        if not self.uses_embeddings:
            return None
        if table.embeddings is None or frame.embeddings is None:
            return np.zeros((len(table), len(frame.scores)))  # without a number
        return table.embeddings @ frame.embeddings.T

    def _match(self, table: TrackTable, frame: FrameDetections, standing: Integers) -> tuple[Integers, Integers]:
        """Columns of the table and rows of the detections."""
        places = self.layout.corners(table.values[P])
        scores = self._association.scores(places[:, :, None], frame.boxes[:, None], self._cosine(table, frame))
        if frame.classes is not None:
            scores[table.labels[CLASS][:, None] != frame.classes] = NEVER
        # Matched, a pair saves its two places without partner, and their two dustbins a pair of their own.
        gain = scores - self._association.dustbin
        return assign(-gain * self._association.detection_probability[standing][:, None], 0.0)
