"""The pictures of ``mot track``: which ones, and from what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mot_core.io import Sequence, read_kitti, read_mot


def check_extras(*, plot: bool, video: bool) -> None:
    """Fail before tracking, not after it, if the packages that draw are missing."""
    from mot_core.extras import require

    for extra, wanted in (("plot", plot), ("video", video)):
        if wanted:
            require(extra, "drawing")


def save_pictures(
    sequence: Sequence,
    result: Path,
    plot: bool,
    video: bool,
    on_frame: Callable[[], object],
    images: Callable[[int], Any] | None = None,
) -> None:
    """Draw the tracks in the file ``result`` into a PNG and a video beside it.

    The PNG is a sheet of frames if the sequence has images, and its trajectories in space and time if it has none.
    ``images`` reads the frames where they are no files of the sequence.
    """
    from mot_core.visualization import save_sheet, save_trajectories, save_video
    from mot_core.visualization.frames import has_images

    read = read_kitti if sequence.rules.layout == "kitti" else read_mot
    tracks = read(result, kind="results")
    if plot:
        picture = result.with_suffix(".png")
        if images or has_images(sequence):
            save_sheet(sequence, tracks, picture, images=images)
        else:
            save_trajectories(sequence, tracks, picture)
    if video:
        save_video(sequence, tracks, result.with_suffix(".mp4"), on_frame=on_frame, images=images)
