"""How much likelier it is that two tracks are one object than that they are two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mot_core.association.kalman import BYTETRACK_NOISE, BatchedKalman, MotionNoise, P
from mot_core.association.layouts import CenterAspectHeight

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MEMORY = 30  # boxes at the end of a track that its filter uses
SIZE_NOISE = 0.08  # standard deviation of the log height of a detection
SIZE_DRIFT = 0.03  # standard deviation that the log height of an object gains per square root of a frame
SIZE_RANGE = 2.0  # range of the log heights of new tracks
REAPPEARANCE = 1 / 400  # probability that a lost object is tracked again in a given frame
BORDER = 0.01  # width of the border as a share of the image
BORDER_BIRTHS = 50.0  # how much likelier births are there


@dataclass(frozen=True, eq=False)
class LinkCandidates:
    """Pairs of tracks of a sequence that may be one object: ``P`` pairs of ``K`` tracks with ``R`` boxes in total.

    Attributes:
        frames: Frame numbers of the boxes, ``(R,)``; the boxes of a track are adjacent and in order of frames.
        boxes_xyxy: Corners of the boxes in pixels, ``(R, 4)``.
        first: Row of the first box of each track, ``(K,)``.
        last: Row of the last box of each track, ``(K,)``.
        earlier: Track of each pair that ends, ``(P,)``.
        later: Track of each pair that starts after this end, ``(P,)``.
        image_size: Height and width in pixels, or None: the image is the rectangle around all boxes.
    """

    frames: Integers
    boxes_xyxy: Floats
    first: Integers
    last: Integers
    earlier: Integers
    later: Integers
    image_size: tuple[int, int] | None = None

    @property
    def image_xyxy(self) -> Floats:
        """Corners of the image."""
        if self.image_size is None:
            return np.concatenate([self.boxes_xyxy[:, :2].min(0), self.boxes_xyxy[:, 2:].max(0)])
        height, width = self.image_size
        return np.array([0.0, 0.0, width, height])

    @property
    def gaps(self) -> Integers:
        """Frames from the end of one track to the start of the other, ``(P,)``; 1 for adjacent frames."""
        return np.asarray(self.frames[self.first[self.later]] - self.frames[self.last[self.earlier]])


LinkGain: TypeAlias = Callable[[LinkCandidates], Floats]
"""Log-odds ``(P,)`` that the tracks of a pair are one object and not two; tracks with negative odds are never linked.

Must not depend on the order of tracks or pairs.
"""


class KalmanLinkGain:
    """Predictive likelihood of the start of a track, given the end of another one, against that of a new object.

    A Kalman filter of constant velocity runs over the last 30 boxes of the track that ends, and predicts its center
    ``m`` with the variance ``S`` (that of the measurement included) ``g`` frames later. A track that starts there with
    the center ``z`` and the height ``h`` has the gain::

        log p + log N(z; m, S) + log N(log h; log h0, 0.08^2 + 0.03^2 g) - log(b K / (T A) / 2)

    with the probability ``p = 1 / 400`` that a lost object is tracked again in a given frame, the last height ``h0``,
    the number of tracks ``K``, frames ``T`` and the area ``A`` of the image. Log heights of new objects are uniform
    over a range of 2. Objects enter and leave at the border of the image: ``b`` is 50 if the last or first box is
    within 1 % of it, and 1 otherwise.

    Args:
        noise: Motion noise relative to the box height, for center, aspect ratio and height; that of ByteTrack by
            default. Higher process noise links more distant tracks, but risks identity switches.

    >>> boxes = np.array([[x, 90.0, x + 40, 190] for x in (100, 104, 108, 112, 132, 400)])
    >>> first, last = np.array([0, 4, 5]), np.array([3, 4, 5])
    >>> frames, earlier, later = np.array([1, 2, 3, 4, 9, 9]), np.array([0, 0]), np.array([1, 2])
    >>> KalmanLinkGain()(LinkCandidates(frames, boxes, first, last, earlier, later, (480, 640))).round(1)
    array([  1.6, -66. ])
    """

    layout = CenterAspectHeight()

    def __init__(self, noise: MotionNoise = BYTETRACK_NOISE) -> None:
        self.noise = noise

    def __call__(self, candidates: LinkCandidates) -> Floats:
        """Return the log-odds of all pairs, ``(P,)``."""
        boxes, gaps = candidates.boxes_xyxy, candidates.gaps.astype(np.float64)
        ending, track = np.unique(candidates.earlier, return_inverse=True)
        kalman = BatchedKalman(self.noise)
        block = self._filter_ends(kalman, candidates, ending)[:, track]
        last = self.layout.measure(boxes[candidates.last[candidates.earlier]].T)
        start = self.layout.measure(boxes[candidates.first[candidates.later]].T)
        kalman.predict(block, self.layout.heights(last), gaps)
        distance, variance = kalman.innovation(block, start, self.layout.heights(last))
        position = _log_normal(distance[:2], variance[:2]).sum(0)
        size = _log_normal(np.log(start[3] / last[3]), SIZE_NOISE**2 + SIZE_DRIFT**2 * gaps)
        return np.asarray(np.log(REAPPEARANCE) + position + size - self._log_births(candidates))

    def _log_births(self, candidates: LinkCandidates) -> Floats:
        """Return the log-density ``(P,)`` of new objects per frame, square pixel and log height."""
        boxes, frames, image = candidates.boxes_xyxy, candidates.frames, candidates.image_xyxy
        size = np.maximum(image[2:] - image[:2], 1.0)
        inner = np.concatenate([image[:2] + BORDER * size, image[2:] - BORDER * size])
        ends = boxes[candidates.last[candidates.earlier]], boxes[candidates.first[candidates.later]]
        border = np.zeros(len(candidates.earlier), bool)
        for box in ends:
            border |= (box[:, :2] <= inner[:2]).any(1) | (box[:, 2:] >= inner[2:]).any(1)
        rate = len(candidates.first) / (frames.max() - frames.min() + 1)
        return np.asarray(np.log(rate / size.prod() / SIZE_RANGE) + border * np.log(BORDER_BIRTHS))

    def _filter_ends(self, kalman: BatchedKalman, candidates: LinkCandidates, tracks: Integers) -> Floats:
        """Return the filter blocks ``(20, E)`` of ``tracks`` ``(E,)`` after their last box."""
        frames, last = candidates.frames, candidates.last[tracks]
        row = np.maximum(candidates.first[tracks], last - MEMORY + 1)
        measured = self.layout.measure(candidates.boxes_xyxy[row].T)
        block = kalman.start(measured, self.layout.heights(measured))
        while (active := np.flatnonzero(row < last)).size:
            before, row[active] = frames[row[active]], row[active] + 1
            now = row[active]
            measured = self.layout.measure(candidates.boxes_xyxy[now].T)
            part = block.take(active, 1)
            kalman.predict(part, self.layout.heights(part[P]), (frames[now] - before).astype(np.float64))
            block[:, active] = kalman.update(part, measured, self.layout.heights(part[P]))
        return block


def _log_normal(difference: Floats, variance: Floats) -> Floats:
    return np.asarray(-0.5 * (difference**2 / variance + np.log(2 * np.pi * variance)))
