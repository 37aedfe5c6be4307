"""Online tracker with a learned association."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from em_kalman.checkpoint import load_model
from em_kalman.model import NeuralKalmanFilter
from em_kalman.tracking.matching import FrameAssociation
from em_kalman.tracking.smooth_motion import ROWS, SHARED, SmoothMotion
from mot_core.association.assignment import assign
from mot_core.association.base import (
    CLASS,
    DETECTION,
    ELAPSED,
    FIRST_FREE_LABEL,
    FIRST_FREE_VALUE,
    SCORE,
    OnlineTracker,
    Preset,
    TrackTable,
)
from mot_core.association.costs import AssociationCost, iou_cost
from mot_core.association.frame_detections import Floats, FrameDetections, Integers
from mot_core.association.kalman import FILTER_ROWS, BatchedKalman, MotionNoise, P
from mot_core.association.layouts import CenterAspectHeight, Layout
from mot_core.association.motion import read_motion
from mot_core.association.offline import KalmanLinkGain

HITS = FIRST_FREE_LABEL  # label row: number of detections after the first
STATE = slice(FIRST_FREE_VALUE, FIRST_FREE_VALUE + ROWS)  # value rows of the smooth motion
NEVER = -1e9  # score of a forbidden pair
ROUNDING = 1e-6  # frames by which a product of seconds and frame rate may be too small
READY_MODEL = Path(__file__).parents[1] / "models" / "ready.pt"  # made by tools/train_em_kalman.py
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
    detected than lost tracks or tracks with a single detection.

    Weak detections, with scores from ``low_score`` to ``min_score``, start no tracks. They continue tracks that were
    detected in the previous frame and have no partner now, in a second matching that maximizes::

        sum_{(i, j)} logit[i, j] - dustbin + 2 log(w[j] / (1 - w[j])) - 2 log 9

    with the ``weak_share`` ``w`` of the model for the score of ``j``, the probability that such a detection is the
    object and not clutter or a second box of another object (:func:`em_kalman.learn_weak_share`). A pair thus matches
    only if it is right with a probability of 0.9. Weak detections are inaccurate, so they do not correct the filter.

    Tracks move by a Kalman filter with the motion noise of the model, or by a smoother one if that has predicted them
    better (:class:`em_kalman.tracking.smooth_motion.SmoothMotion`), and keep the size of their last detection. The
    network compares their predicted boxes with the detections.

    Args:
        checkpoint: Checkpoint of ``mot em-kalman adapt``, ``mot fit --config em_kalman_mot17`` or
            :func:`em_kalman.save_model`. By default the model that is part of this package, which was trained on
            synthetic scenes.
        min_score: Minimum score of a detection that can start a track. Higher values suppress clutter but miss objects.
        low_score: Minimum score of a weak detection, which can only continue a track. None are used if it is not
            below ``min_score``.
        max_age: Frames for which a track without detections is kept. Higher values bridge longer occlusions but risk
            identity switches.
        max_seconds: Seconds for which a track without detections is kept, instead of ``max_age``; converted by
            ``frame_rate``.
        min_hits: Consecutive detections after its first that a track needs to be reported (none in the first frame of a
            stream); a track that misses one of these is dropped. Higher values suppress more clutter.
        frame_rate: Nominal frames per second, which converts seconds to frames.
        min_area: Box area in square pixels up to which a track is not reported.
        max_aspect: Width / height above which a track is not reported.
        report: Boxes of the reported tracks: ``detection`` for their detections, ``filter`` for the filter's estimates.
        noise: Standard deviations of the Kalman filter, of which those of the size are used. By default the size is
            that of the last detection.
        motion: File with learned noise of center and velocity; that of the model by default.
        model: Trained model, as an alternative to ``checkpoint``, with its motion and ``detection_probability``.

    Raises:
        ValueError: If an argument is out of range, or the model has no dustbin.

    >>> tracker = EMKalmanTracker()
    >>> tracker.update(np.array([[0, 0, 40, 80]]), np.array([0.9])).ids
    array([1])
    """

    layout: ClassVar[Layout] = CenterAspectHeight()
    table_rows: ClassVar[tuple[int, int]] = (STATE.stop, HITS + 1)
    score_thresholds: ClassVar[tuple[str, ...]] = ("min_score", "low_score")
    PRESETS: ClassVar[Mapping[str, Preset]] = {}

    checkpoint: str = ""
    min_score: float = 0.6
    low_score: float = 0.1
    max_age: float = 30
    max_seconds: float | None = None
    min_hits: int = 1
    noise: MotionNoise = LAST_SIZE
    cost: AssociationCost = iou_cost  # without effect, therefore no flag; the model is the cost
    motion: str = ""
    model: NeuralKalmanFilter | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(self.max_age >= 0, "max_age", "0 or more frames")
        seconds = self.max_seconds
        self._refuse_unless(seconds is None or seconds >= 0, "max_seconds", "0 or more seconds, or None")
        self._oldest = self.max_age if seconds is None else seconds * self.frame_rate + ROUNDING
        self._refuse_unless(self.min_hits >= 0, "min_hits", "0 or more detections")
        if self.model is None:
            self.model = load_model(self.checkpoint or READY_MODEL)
        self._association = FrameAssociation(self.model)
        motion = read_motion(self.motion) if self.motion else self.model.learned_motion().for_trackers()
        self._noise = motion.noise(self.noise)
        self._kalman = BatchedKalman(self._noise)
        self._smooth = SmoothMotion(self.noise)

    @property
    def uses_embeddings(self) -> bool:
        """Whether :meth:`update` requires embeddings, because the model was trained with them."""
        assert self.model is not None
        return self.model.embeddings

    def link_gain(self) -> KalmanLinkGain:
        """Return the gain with which ``mot track --link`` joins tracks: with the motion noise of this tracker.

        >>> from mot_core.association import link_tracks
        >>> from mot_core.io import BoxTable
        >>> boxes = [[x, 90, x + 40, 190] for x in (100, 104, 108, 112, 140, 400)]  # not seen in frames 5 to 9
        >>> table = BoxTable([1, 2, 3, 4, 10, 10], [1, 1, 1, 1, 2, 3], boxes)
        >>> link_tracks(table, 30, gain=EMKalmanTracker().link_gain(), image_size=(480, 640)).ids
        array([1, 1, 1, 1, 1, 3])
        """
        return KalmanLinkGain(self._noise)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state, also one saved when this class was called ``OnlineAssociator``."""
        old = state.get("tracker") == "OnlineAssociator"
        super().load_state_dict({**state, "tracker": type(self).__name__} if old else state)

    def _step(self, table: TrackTable, frame: FrameDetections, dt: float) -> tuple[Integers, Floats]:
        frame, index, strong = self._sort_detections(frame)
        values = table.values
        status = np.where(values[ELAPSED] > 0, LOST, np.where(table.labels[HITS] < self.min_hits, NEW, SEEN))
        self._kalman.predict(values[:FILTER_ROWS], self.layout.heights(values[P]), dt)
        self._smooth.predict(values[STATE], dt)
        values[ELAPSED] += dt
        gain = self._gain(table, frame)
        columns, rows = self._match(table, gain[:, :strong], status)
        weak = self._match_weak(table, gain[:, strong:], frame.scores[strong:], status, columns)
        if len(columns):
            self._observe(table, columns, frame, rows, index)
        self._follow(table, weak[0], frame, weak[1] + strong, index)
        table.labels[HITS, columns] += 1
        table.labels[HITS, weak[0]] += 1
        shared = values[STATE][SHARED, :1].sum()  # 0 without tracks
        elapsed = table.values[ELAPSED]
        kept = (elapsed == 0) | ((elapsed <= self._oldest) & (table.labels[HITS] >= self.min_hits))
        table.select(kept.nonzero()[0])
        unused = np.ones(strong, bool)
        unused[rows] = False
        born = unused.nonzero()[0]
        if len(born):
            values, labels = self._newborn(frame, born, index)
            labels[HITS] = self.min_hits if table.step == 1 else 0
            values[STATE] = self._smooth.start(values[P], shared)
            table.append(values, labels, None if frame.embeddings is None else frame.embeddings[born])
        reported = ((table.values[ELAPSED] == 0) & (table.labels[HITS] >= self.min_hits)).nonzero()[0]
        return reported, self._corners(table.values[:, reported])

    def _sort_detections(self, frame: FrameDetections) -> tuple[FrameDetections, Integers, int]:
        """Return strong detections followed by weak ones, their rows in the input, and the number of strong ones."""
        strong = frame.scores >= self.min_score
        first = strong.nonzero()[0]
        index = np.concatenate([first, (~strong & (frame.scores >= self.low_score)).nonzero()[0]])
        return frame.rows(index), index, len(first)

    def _cosine(self, table: TrackTable, frame: FrameDetections) -> Floats | None:
        """Return the cosine similarity of the tracks' last detections and the frame's detections."""
        if not self.uses_embeddings:
            return None
        if table.embeddings is None or frame.embeddings is None:
            return np.zeros((len(table), len(frame.scores)))  # an empty table or frame
        return table.embeddings @ frame.embeddings.T

    def _gain(self, table: TrackTable, frame: FrameDetections) -> Floats:
        """Return ``logit - dustbin`` of tracks and detections, ``(N, M)``.

        A match gains that much, because it replaces two dustbin assignments and adds a pair of dustbins.
        """
        boxes = self._corners(table.values)
        scores = self._association.scores(boxes[:, :, None], frame.boxes[:, None], self._cosine(table, frame))
        if frame.classes is not None:
            scores[table.labels[CLASS][:, None] != frame.classes] = NEVER
        return scores - self._association.dustbin

    def _corners(self, values: Floats) -> Floats:
        """Return the corners ``(4, N)`` of tracks where the better filter of each has them."""
        return self.layout.corners(np.concatenate([self._smooth.centers(values[STATE], values[P]), values[P][2:]]))

    def _observe(
        self, table: TrackTable, columns: Integers, frame: FrameDetections, rows: Integers, index: Integers
    ) -> None:
        values, measured = table.values, self.layout.measure(frame.boxes.take(rows, 1))
        self._smooth.observe(values[STATE], columns, values[P].take(columns, 1), measured)
        super()._observe(table, columns, frame, rows, index)

    def _match(self, table: TrackTable, gain: Floats, status: Integers) -> tuple[Integers, Integers]:
        """Return the matched columns of the table and rows of the strong detections."""
        return assign(-gain * self._association.detection_probability[status][:, None], 0.0)

    def _match_weak(
        self, table: TrackTable, gain: Floats, scores: Floats, status: Integers, matched: Integers
    ) -> tuple[Integers, Integers]:
        """Return the columns of the table continued by weak detections, and the rows of these."""
        free = status == SEEN
        free[matched] = False
        left = free.nonzero()[0]
        columns, rows = assign(-gain[left] - self._association.weak_gain(scores), 0.0)
        return left[columns], rows

    def _follow(
        self, table: TrackTable, columns: Integers, frame: FrameDetections, rows: Integers, index: Integers
    ) -> None:
        """Assign weak detections to the tracks at ``columns`` without correcting their filter."""
        table.values[SCORE, columns] = frame.scores[rows]
        table.values[ELAPSED, columns] = 0.0
        table.labels[DETECTION, columns] = index[rows]
