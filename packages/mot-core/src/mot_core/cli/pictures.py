"""The pictures of ``mot track``: which ones, and from what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mot_core.io import Sequence, read_kitti, read_mot


def check_extras(*, plot: bool, video: bool) -> None:
    """Fail before tracking, not after it, if the packages that draw are missing."""
    from mot_core.visualization.extras import require

    for extra, wanted in (("plot", plot), ("video", video)):
        if wanted:
            require(extra)


def save_pictures(sequence: Sequence, result: Path, plot: bool, video: bool, on_frame: Callable[[], object]) -> None:
    """Draw the tracks in the file ``result`` into a PNG and a video beside it.

    The PNG is a sheet of frames if the sequence has images, and its trajectories in space and time if it has none.
    """
    from mot_core.visualization import save_sheet, save_trajectories, save_video
    from mot_core.visualization.frames import has_images

    read = read_kitti if sequence.rules.layout == "kitti" else read_mot
    tracks = read(result, kind="results")
    if plot:
        save = save_sheet if has_images(sequence) else save_trajectories
        save(sequence, tracks, result.with_suffix(".png"))
    if video:
        save_video(sequence, tracks, result.with_suffix(".mp4"), on_frame=on_frame)
