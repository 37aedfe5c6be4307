"""Online tracker with a learned association."""

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
    ELAPSED,
    FIRST_FREE_LABEL,
    FIRST_FREE_VALUE,
    OnlineTracker,
    Preset,
    TrackTable,
)
from mot_core.association.costs import AssociationCost, iou_cost
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import FILTER_ROWS, BatchedKalman, MotionNoise, P
from mot_core.association.layouts import CenterAspectHeight, Layout
from mot_core.association.motion import read_motion

HITS = FIRST_FREE_LABEL  # label row: number of detections after the first
NEVER = -1e9  # score of a forbidden pair
# Track status, which indexes ``detection_probability``: detected in the previous frame, not detected there, or detected
# for the first time there.
SEEN, LOST, NEW = 0, 1, 2
# Keeps the last measured size: real changes of a box's size exceed its measurement error.
LAST_SIZE = MotionNoise(
    process=((0, 0), (0, 0), (0, 1), (0, 1)),
    process_velocity=((0, 0),) * 4,
    measurement=((0, 0),) * 4,
    initial=((0, 0), (0, 0), (0, 1), (0, 1)),
    initial_velocity=((0, 0),) * 4,
)


@dataclass(kw_only=True, eq=False)
class EMKalmanTracker(OnlineTracker):
    """Online tracker that assigns detections to tracks by the most likely matching of a learned association.

    Every track and detection may have no partner. The matching maximizes, over the matched pairs ``(i, j)``::

        sum_{(i, j)} p[status(i)] (logit[i, j] - dustbin)

    with the ``detection_probability`` ``p`` of the track; without that factor it is the zero-temperature limit of the
    model's transport plan (:func:`mot_core.ops.sinkhorn`). Tracks detected in the previous frame are likelier to be
    detected than lost tracks or tracks with a single detection. No score threshold is set by hand.

    Tracks move by a Kalman filter with the motion noise of the model and keep the size of their last detection. The
    network compares their predicted boxes with the detections.

    Args:
        checkpoint: Checkpoint of ``mot fit --config em_kalman_mot17`` or :func:`em_kalman.save_model`.
        min_score: Minimum detection score; scores may have any scale. No detection is ignored by default.
        max_age: Frames for which a track without detections is kept. Higher values bridge longer occlusions but risk
            identity switches.
        min_hits: Consecutive detections after its first that a track needs to be reported (none in the first frame of a
            stream); a track that misses one of these is dropped. Higher values suppress more clutter.
        frame_rate: Nominal frames per second, which converts timestamps in seconds to frames.
        min_area: Box area in square pixels up to which a track is not reported.
        max_aspect: Width / height above which a track is not reported.
        report: Boxes of the reported tracks: ``detection`` for their detections, ``filter`` for the filter's estimates.
        noise: Standard deviations of the Kalman filter, of which those of the size are used. By default the size is
            that of the last detection.
        motion: File with learned noise of center and velocity; that of the model by default.
        model: Trained model, as an alternative to ``checkpoint``, with its motion and ``detection_probability``.

    Raises:
        ValueError: If no model is given, or the model has no dustbin.

    >>> tracker = EMKalmanTracker(model=NeuralKalmanFilter())
    >>> tracker.update(np.array([[0, 0, 40, 80]]), np.array([0.9])).ids
    array([1])
    """

    layout: ClassVar[Layout] = CenterAspectHeight()
    table_rows: ClassVar[tuple[int, int]] = (FIRST_FREE_VALUE, HITS + 1)
    PRESETS: ClassVar[Mapping[str, Preset]] = {}

    checkpoint: str = ""
    min_score: float = float("-inf")
    max_age: float = 30
    min_hits: int = 1
    noise: MotionNoise = LAST_SIZE
    cost: AssociationCost = iou_cost  # without effect, therefore no flag; the model is the cost
    motion: str = ""
    model: NeuralKalmanFilter | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(self.max_age >= 0, "max_age", "0 or more frames")
        self._refuse_unless(self.min_hits >= 0, "min_hits", "0 or more detections")
        if self.model is None:
            if not self.checkpoint:
                raise ValueError(
                    "EMKalmanTracker: expected a trained model, got none; pass --checkpoint FILE, or model=..."
                )
            self.model = load_model(self.checkpoint)
        self._association = FrameAssociation(self.model)
        motion = read_motion(self.motion) if self.motion else self.model.learned_motion().for_trackers()
        self._kalman = BatchedKalman(motion.noise(self.noise))

    @property
    def uses_embeddings(self) -> bool:
        """Whether :meth:`update` requires embeddings, because the model was trained with them."""
        assert self.model is not None
        return self.model.embeddings

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state, also one saved when this class was called ``OnlineAssociator``."""
        old = state.get("tracker") == "OnlineAssociator"
        super().load_state_dict({**state, "tracker": type(self).__name__} if old else state)

    def _step(self, table: TrackTable, frame: FrameDetections, dt: float) -> tuple[Integers, Floats]:
        index = (frame.scores >= self.min_score).nonzero()[0]
        frame = frame.rows(index)
        values = table.values
        status = np.where(values[ELAPSED] > 0, LOST, np.where(table.labels[HITS] < self.min_hits, NEW, SEEN))
        self._kalman.predict(values[:FILTER_ROWS], self.layout.heights(values[P]), dt)
        values[ELAPSED] += dt
        columns, rows = self._match(table, frame, status)
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
        return reported, self.layout.corners(table.values[P, reported])

    def _cosine(self, table: TrackTable, frame: FrameDetections) -> Floats | None:
        """Return the cosine similarity of the tracks' last detections and the frame's detections."""
        if not self.uses_embeddings:
            return None
        if table.embeddings is None or frame.embeddings is None:
            return np.zeros((len(table), len(frame.scores)))  # an empty table or frame
        return table.embeddings @ frame.embeddings.T

    def _match(self, table: TrackTable, frame: FrameDetections, status: Integers) -> tuple[Integers, Integers]:
        """Return the matched columns of the table and rows of the detections."""
        boxes = self.layout.corners(table.values[P])
        scores = self._association.scores(boxes[:, :, None], frame.boxes[:, None], self._cosine(table, frame))
        if frame.classes is not None:
            scores[table.labels[CLASS][:, None] != frame.classes] = NEVER
        # A match replaces two dustbin assignments and adds a pair of dustbins, so it gains logit - dustbin.
        gain = scores - self._association.dustbin
        return assign(-gain * self._association.detection_probability[status][:, None], 0.0)
