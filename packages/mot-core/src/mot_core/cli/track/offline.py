"""``mot track --link --interpolate --smooth``: tracks changed after the last frame of a sequence."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mot_core.io import BoxTable
from mot_core.structures import Tracks

if TYPE_CHECKING:
    from mot_core.association import LinkGain


def add_offline(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of linking and interpolation."""
    group = parser.add_argument_group("after the last frame of a sequence (offline)")
    group.add_argument(
        "--link",
        type=_frames,
        default=0,
        metavar="N",
        help="join tracks where one ends and another one starts, likely the same object, up to N frames later "
        "(default: 0, none)",
    )
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


def offline_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the steps after the last frame, for the run record; empty if there are none."""
    names = "link", "interpolate", "smooth", "mark_interpolated"
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name)}


def finish(
    frames: Sequence[tuple[int, Tracks]],
    *,
    link: int = 0,
    gain: LinkGain | None = None,
    image_size: tuple[int, int] | None = None,
    interpolate: int = 0,
    smooth: bool = False,
) -> Iterator[tuple[int, Tracks, list[bool]]]:
    """Yield the final tracks of every frame, and which of them were filled.

    Args:
        frames: Number and tracks of every frame.
        link: Largest gap between tracks that are joined.
        gain: Log-odds that two tracks are one object; by default those of a plain Kalman filter.
        image_size: Height and width of the frames in pixels, if known.
        interpolate: Largest gap that is filled.
        smooth: Whether to smooth all boxes.

    >>> seen = Tracks(np.array([7]), np.array([[0.0, 0, 10, 20]]), np.array([0.9]))
    >>> [(number, filled) for number, _, filled in finish([(1, seen), (2, seen[:0]), (3, seen)], interpolate=20)]
    [(1, [False]), (2, [True]), (3, [False])]
    """
    from mot_core.association import interpolate_tracks, link_tracks

    every = [(number, tracks.numpy()) for number, tracks in frames]
    numbers = np.repeat([number for number, _ in every], [len(tracks) for _, tracks in every])
    ids, boxes, scores, classes = (
        np.concatenate([np.asarray(getattr(tracks, name)) for _, tracks in every])
        for name in ("ids", "boxes_xyxy", "scores", "classes")
    )
    table = BoxTable(numbers, ids, boxes, scores, classes)
    if link:
        table = link_tracks(table, link, gain=gain, image_size=image_size)
    table = interpolate_tracks(table, interpolate, smooth=smooth)
    for number, _ in every:
        rows = table.frame(number)
        tracks = Tracks(table.ids[rows], table.boxes_xyxy[rows], table.scores[rows], table.classes[rows])
        yield number, tracks, (table.visibility[rows] == 0).tolist()


def _frames(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number of frames, 0 or more, got {text!r}")
    return int(text)
