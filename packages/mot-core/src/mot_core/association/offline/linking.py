"""Tracks joined across gaps by one global assignment, after all frames are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from mot_core.association.offline.checks import rows_by_track
from mot_core.association.offline.link_gain import Floats, Integers, KalmanLinkGain, LinkCandidates, LinkGain
from mot_core.io.table import BoxTable


def link_tracks(
    tracks: BoxTable,
    max_gap: int = 30,
    *,
    gain: LinkGain | None = None,
    image_size: tuple[int, int] | None = None,
) -> BoxTable:
    """Join tracks whose ends and starts are likely the same object.

    Every track has at most one successor and one predecessor of its class, which starts 1 to ``max_gap`` frames after
    its end. Of all such matchings, the one with the largest sum of gains is chosen; pairs with a gain of 0 or less are
    never joined. A joined track has the identity of its first part, and the gaps stay empty
    (:func:`mot_core.association.interpolate_tracks` fills them).

    Args:
        tracks: Boxes with identities, in pixels.
        max_gap: Largest number of frames from the last box of a track to the first box of the next. Higher values
            join tracks over longer occlusions, but risk identity switches. 0 joins nothing.
        gain: Log-odds that two tracks are one object; :class:`mot_core.association.KalmanLinkGain` by default.
        image_size: Height and width in pixels, for gains that depend on the place in the image. By default, the image
            is the rectangle around all boxes.

    Returns:
        The table with changed identities.

    Raises:
        ValueError: If ``max_gap`` is negative, an identity is negative or occurs twice in a frame, a box is not finite
            or has no area, or ``gain`` returns NaN or another shape.

    >>> boxes = [[x, 90, x + 40, 190] for x in (100, 104, 108, 112, 132, 136)]  # not seen in frames 5 to 8
    >>> table = BoxTable([1, 2, 3, 4, 9, 10], [1, 1, 1, 1, 2, 2], boxes)
    >>> link_tracks(table, 5, image_size=(480, 640)).ids, link_tracks(table, 4, image_size=(480, 640)).ids
    (array([1, 1, 1, 1, 1, 1]), array([1, 1, 1, 1, 2, 2]))
    """
    if max_gap < 0:
        raise ValueError(f"max_gap: expected 0 or more frames, got {max_gap}; 0 joins nothing")
    order = rows_by_track(tracks)
    boxes = tracks.boxes_xyxy
    for row in np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(1))[:1]:
        raise ValueError(
            f"boxes_xyxy: expected x1 < x2 and y1 < y2, got {boxes[row].tolist()} in frame {tracks.frames[row]}; "
            "remove the row"
        )
    if not max_gap or not len(tracks):
        return tracks
    order = _by_start(tracks, order)
    candidates = _candidates(tracks, order, max_gap, image_size)
    if not len(candidates.earlier):
        return tracks
    gains = np.asarray((gain or KalmanLinkGain())(candidates), np.float64)
    if gains.shape != candidates.earlier.shape or np.isnan(gains).any():
        got = "NaN" if gains.shape == candidates.earlier.shape else f"the shape {gains.shape}"
        raise ValueError(f"gain: expected {len(candidates.earlier)} numbers, one for each pair, got {got}; correct it")
    earlier, later = _best_matching(candidates, gains)
    names = tracks.ids[order][candidates.first]
    for one, following in sorted(zip(earlier.tolist(), later.tolist(), strict=True), key=lambda pair: pair[1]):
        names[following] = names[one]  # in order of starts, so that ``one`` has its final name
    ids = np.empty_like(tracks.ids)
    ids[order] = np.repeat(names, candidates.last - candidates.first + 1)
    return replace(tracks, ids=ids)


def _by_start(tracks: BoxTable, order: Integers) -> Integers:
    """Sort the tracks of ``order`` by first frame and box, so that ties do not depend on their identities."""
    first = np.flatnonzero(np.r_[True, np.diff(tracks.ids[order]) != 0])
    counts = np.diff(np.r_[first, len(order)])
    start = order[first]
    ranks = np.lexsort((*tracks.boxes_xyxy[start].T, tracks.frames[start]))
    return np.concatenate([order[first[track] : first[track] + counts[track]] for track in ranks])


def _candidates(tracks: BoxTable, order: Integers, max_gap: int, image_size: tuple[int, int] | None) -> LinkCandidates:
    """Return all pairs of tracks of one class with a gap of 1 to ``max_gap`` frames; tracks are sorted by start."""
    ids, frames, classes = tracks.ids[order], tracks.frames[order], tracks.classes[order]
    first = np.flatnonzero(np.r_[True, np.diff(ids) != 0])
    last = np.r_[first[1:], len(ids)] - 1
    low = frames[first].searchsorted(frames[last], "right")
    counts = frames[first].searchsorted(frames[last] + max_gap, "right") - low
    earlier = np.repeat(np.arange(len(first)), counts)
    later = np.arange(len(earlier)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(low, counts)
    same = classes[last[earlier]] == classes[first[later]]
    boxes = tracks.boxes_xyxy[order]
    return LinkCandidates(frames, boxes, first, last, earlier[same], later[same], image_size)


def _best_matching(candidates: LinkCandidates, gains: Floats) -> tuple[Integers, Integers]:
    """Return the tracks that are joined, and their successors: the matching with the largest sum of gains."""
    likely = gains > 0
    ends, row = np.unique(candidates.earlier[likely], return_inverse=True)
    starts, column = np.unique(candidates.later[likely], return_inverse=True)
    worth = np.zeros((len(ends), len(starts)))
    worth[row, column] = gains[likely]
    rows, columns = linear_sum_assignment(worth, maximize=True)
    joined = worth[rows, columns] > 0
    return ends[rows[joined]], starts[columns[joined]]
