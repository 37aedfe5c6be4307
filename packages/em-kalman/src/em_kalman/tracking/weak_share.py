"""Probability that a weak detection next to a track is its object, by score, learned from unlabeled detections."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from em_kalman.detections.sequences import DetectionSequence
from em_kalman.model import SCORE_BINS, NeuralKalmanFilter
from em_kalman.tracking.matching import score_bins
from em_kalman.tracking.tracker import HITS, SEEN, EMKalmanTracker
from mot_core.association.base import TrackTable
from mot_core.association.frame_detections import Floats, Integers

LIMIT = 0.02  # distance of the learned probabilities from 0 and 1


@torch.no_grad()
def learn_weak_share(
    model: NeuralKalmanFilter,
    sequences: Iterable[DetectionSequence],
    *,
    min_score: float = 0.6,
    low_score: float = 0.1,
) -> None:
    """Set ``model.weak_share``, the probability that a weak detection near a track is its object, by score.

    Tracks with a strong detection in a frame need no weak one, so the weak detections near them are clutter or second
    boxes. With the rate ``c`` of such detections per track with a strong detection, and ``n`` weak detections near
    ``m`` tracks without one, the share of objects among these is estimated as::

        w = (n - c m + 1) / (n + 2)

    for every tenth of the scores; 0.5 without observations. A weak detection is near a track if the model finds a match
    likelier than none. A model that cannot track, because it has no dustbin, uses embeddings or has a motion model that
    trackers do not support, is left unchanged.

    Args:
        model: Trained model; modified in place.
        sequences: Detections with scores, strong and weak.
        min_score: Minimum score of strong detections, as in :class:`em_kalman.EMKalmanTracker`.
        low_score: Minimum score of weak detections.

    >>> from mot_core.io import BoxTable
    >>> boxes = [[10.0 * frame, 0, 10.0 * frame + 40, 100] for frame in range(9)]
    >>> table = BoxTable(range(1, 10), [-1] * 9, boxes, [0.9] * 5 + [0.35] * 4)  # one object, four times weak
    >>> model = NeuralKalmanFilter()
    >>> _ = model.dustbin.requires_grad_(False).fill_(-9)
    >>> learn_weak_share(model, [DetectionSequence("street", table, range(1, 10), (480, 640))])
    >>> round(model.weak_share[3].item(), 2), model.weak_share[2].item()  # (4 - 0 + 1) / (4 + 2) and unknown
    (0.83, 0.5)
    """
    if model.dustbin is None or model.embeddings or not model.motion.fits_trackers:
        return
    model.weak_share.fill_(0.5)
    counting = _WeakCounting(model=model, min_score=min_score, low_score=low_score)
    for sequence in sequences:
        counting.reset()
        table = sequence.table.select((sequence.table.boxes_xyxy[:, 2:] > sequence.table.boxes_xyxy[:, :2]).all(1))
        for number in sequence.frames:
            rows = table.frame(number)
            counting.update(table.boxes_xyxy[rows], table.scores[rows])
    needless, needed = counting.near
    with_strong, without = counting.tracks
    objects = needed - needless / max(with_strong, 1) * without
    share = ((objects + 1) / (needed + 2)).clip(LIMIT, 1 - LIMIT)
    model.weak_share.copy_(torch.from_numpy(share))


class _WeakCounting(EMKalmanTracker):
    """Tracker that counts the best weak detections near tracks with (row 0) and without (row 1) a strong one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tracks, self.near = np.zeros(2), np.zeros((2, SCORE_BINS))

    def _match_weak(
        self, table: TrackTable, gain: Floats, scores: Floats, status: Integers, matched: Integers
    ) -> tuple[Integers, Integers]:
        counted = (status == SEEN) & (table.labels[HITS] > self.min_hits)
        missed = np.ones(len(table), bool)
        missed[matched] = False
        for row, chosen in enumerate((counted & ~missed, counted & missed)):
            self.tracks[row] += chosen.sum()
            if chosen.any() and len(scores):
                near = gain[chosen].max(1) > 0
                best = scores[gain[chosen].argmax(1)][near]
                self.near[row] += np.bincount(score_bins(best, SCORE_BINS), minlength=SCORE_BINS)
        return super()._match_weak(table, gain, scores, status, matched)
