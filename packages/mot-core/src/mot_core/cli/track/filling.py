"""``mot track --interpolate``: gaps of tracks filled after the last frame."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from mot_core.io import BoxTable
from mot_core.structures import Tracks


def add_interpolation(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of interpolation."""
    group = parser.add_argument_group("after the last frame of a sequence (offline)")
    group.add_argument(
        "--interpolate",
        type=_frames,
        default=0,
        metavar="N",
        help="fill gaps of tracks of up to N frames with boxes on a straight line (default: 0, no gap)",
    )
    group.add_argument("--smooth", action="store_true", help="smooth all boxes of a track (Rauch-Tung-Striebel)")
    group.add_argument(
        "--mark-interpolated",
        action="store_true",
        help="write 1 in the last column of filled boxes and 0 in that of others, instead of -1 (MOT layout only)",
    )


def fill(frames: Sequence[tuple[int, Tracks]], max_gap: int, smooth: bool) -> Iterator[tuple[int, Tracks, list[bool]]]:
    """Yield the tracks of every frame with gaps filled, and which of them were filled.

    >>> seen = Tracks(np.array([7]), np.array([[0.0, 0, 10, 20]]), np.array([0.9]))
    >>> [(number, filled) for number, _, filled in fill([(1, seen), (2, seen[:0]), (3, seen)], 20, False)]
    [(1, [False]), (2, [True]), (3, [False])]
    """
    from mot_core.association import interpolate_tracks

    every = [(number, tracks.numpy()) for number, tracks in frames]
    numbers = np.repeat([number for number, _ in every], [len(tracks) for _, tracks in every])
    ids, boxes, scores, classes = (
        np.concatenate([np.asarray(getattr(tracks, name)) for _, tracks in every])
        for name in ("ids", "boxes_xyxy", "scores", "classes")
    )
    table = interpolate_tracks(BoxTable(numbers, ids, boxes, scores, classes), max_gap, smooth=smooth)
    for number, _ in every:
        rows = table.frame(number)
        tracks = Tracks(table.ids[rows], table.boxes_xyxy[rows], table.scores[rows], table.classes[rows])
        yield number, tracks, (table.visibility[rows] == 0).tolist()


def _frames(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number of frames, 0 or more, got {text!r}")
    return int(text)
