"""Pictures and videos of ``mot track``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mot_core.io import Sequence, read_kitti, read_mot


def check_extras(*, plot: bool, video: bool) -> None:
    """Raise an error before tracking if packages for drawing are missing."""
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
    """Draw the tracks in the file ``result`` as a PNG and a video in the same folder.

    The PNG is a sheet of frames if the sequence has images, otherwise a plot of trajectories in space and time.
    ``images`` reads the frames if they are not image files of the sequence.
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
