"""Boxes in the gaps of tracks, and smoothing of tracks, after all frames are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mot_core.association.kalman import BYTETRACK_NOISE
from mot_core.association.layouts import CenterSize
from mot_core.association.offline.checks import rows_by_track
from mot_core.io.table import BoxTable

Floats = npt.NDArray[np.float64]


def interpolate_tracks(tracks: BoxTable, max_gap: int = 20, *, smooth: bool = False) -> BoxTable:
    """Fill short gaps of tracks with boxes on the line between the boxes before and after the gap.

    A box in frame ``t`` of a gap between frames ``a`` and ``b`` is, corner by corner and for the score::

        box(t) = ((b - t) box(a) + (t - a) box(b)) / (b - a)

    Args:
        tracks: Boxes with identities, in pixels.
        max_gap: Largest number of missing frames that is filled. Higher values find more occluded objects, but add
            false boxes where an object turned or the track changed to another object.
        smooth: Whether to smooth the center and size of all boxes by the Rauch-Tung-Striebel smoother
            (:func:`mot_core.ops.rts_smoother`) with the motion noise of ByteTrack relative to the mean height of the
            track. Filled boxes come from the smoother, too. Long gaps split a track in parts that are smoothed alone.

    Returns:
        The table with the added rows, which have a visibility of 0. They have the class of the box before the gap.

    Raises:
        ValueError: If ``max_gap`` is negative, an identity is negative or occurs twice in a frame, or a box is not
            finite.

    >>> table = BoxTable([1, 4], [7, 7], [[0, 0, 10, 20], [30, 0, 40, 26]])
    >>> filled = interpolate_tracks(table)
    >>> filled.frames, filled.boxes_xyxy[1]
    (array([1, 2, 3, 4]), array([10.,  0., 20., 22.]))
    >>> len(interpolate_tracks(table, max_gap=1))
    2
    """
    if max_gap < 0:
        raise ValueError(f"max_gap: expected 0 or more frames, got {max_gap}; 0 fills no gap")
    order = rows_by_track(tracks)
    ids, frames = tracks.ids[order], tracks.frames[order]
    step, same = np.diff(frames), np.diff(ids) == 0
    joined = same & (step <= max_gap + 1)
    before = np.repeat(np.flatnonzero(joined), step[joined] - 1)
    offset = np.arange(len(before)) - np.searchsorted(before, before) + 1
    weight = offset / step[before] if len(before) else np.zeros(0)

    def between(column: Floats) -> Floats:
        values = column[order]
        share = weight.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray((1 - share) * values[before] + share * values[before + 1])

    filled = BoxTable(
        frames[before] + offset,
        ids[before],
        between(tracks.boxes_xyxy),
        between(tracks.scores),
        tracks.classes[order][before],
        np.zeros(len(before)),
    )
    plain = BoxTable(tracks.frames, tracks.ids, tracks.boxes_xyxy, tracks.scores, tracks.classes, np.ones(len(tracks)))
    table = BoxTable.concatenate([plain, filled])
    return _smooth(table) if smooth and len(table) else table


def _smooth(table: BoxTable) -> BoxTable:
    """Smooth every run of consecutive frames of a track; boxes with visibility 0 are not measurements."""
    import torch

    from mot_core.ops import kalman_filter, rts_smoother

    order = np.lexsort((table.frames, table.ids))
    ids, frames = table.ids[order], table.frames[order]
    new = np.r_[True, (np.diff(ids) != 0) | (np.diff(frames) != 1)]
    run = np.cumsum(new) - 1
    position = np.arange(len(run)) - np.flatnonzero(new)[run]
    boxes = table.boxes_xyxy[order]
    measured = CenterSize().measure(boxes.T).T
    count, length = int(run[-1]) + 1, int(position.max()) + 1
    points = torch.zeros(count, length, 1, 4, dtype=torch.float64)
    seen = torch.zeros(count, length, 1, 1, dtype=torch.float64)
    points[run, position, 0] = torch.from_numpy(measured)
    seen[run, position, 0, 0] = torch.from_numpy((table.visibility[order] > 0).astype(np.float64))
    heights = np.bincount(run, measured[:, 3]) / np.bincount(run)
    scale = torch.from_numpy(heights**2)[:, None, None]
    noise = BYTETRACK_NOISE
    process, measurement, initial = (
        torch.tensor([pairs[0][0] ** 2 for pairs in groups])
        for groups in (
            (noise.process, noise.process_velocity),
            (noise.measurement,),
            (noise.measurement, noise.initial_velocity),
        )
    )
    result = kalman_filter(
        points,
        seen,
        points[:, 0],
        process_noise=scale * process,
        measurement_noise=(scale * measurement)[..., 0],
        initial_variance=scale * initial,
    )
    mean = rts_smoother(result).mean[:, :, 0, 0].numpy()[run, position]
    corners = CenterSize().corners(mean.T).T
    smoothed = np.empty_like(boxes)
    valid = np.all(corners[:, 2:] > corners[:, :2], axis=1)  # a box that shrinks to nothing is kept as it is
    smoothed[order] = np.where(valid[:, None], corners, boxes)
    return replace(table, boxes_xyxy=smoothed)
