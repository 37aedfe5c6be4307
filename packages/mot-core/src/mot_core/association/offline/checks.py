"""Checks of a table of tracks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mot_core.io.table import BoxTable


def rows_by_track(tracks: BoxTable) -> npt.NDArray[np.int64]:
    """Return the positions of all rows, sorted by identity and frame.

    Raises:
        ValueError: If an identity is negative or occurs twice in a frame, or a box is not finite.

    >>> rows_by_track(BoxTable([1, 1, 2], [8, 7, 8], np.ones((3, 4))))
    array([1, 0, 2])
    """
    if (tracks.ids < 0).any():
        raise ValueError(f"ids: expected 0 or more, got {tracks.ids.min()}; track detections first")
    order = np.lexsort((tracks.frames, tracks.ids))
    ids, frames = tracks.ids[order], tracks.frames[order]
    repeated = (np.diff(ids) == 0) & (np.diff(frames) == 0)
    if repeated.any():
        row = int(np.argmax(repeated))
        raise ValueError(
            f"ids: expected each identity once per frame, got {ids[row]} twice in frame {frames[row]}; "
            "remove one of the rows"
        )
    for row in np.flatnonzero(~np.isfinite(tracks.boxes_xyxy).all(1))[:1]:
        raise ValueError(
            f"boxes_xyxy: expected finite corners, got {tracks.boxes_xyxy[row].tolist()} in frame "
            f"{tracks.frames[row]}; remove the row"
        )
    return np.asarray(order)
