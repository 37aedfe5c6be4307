"""Conversion of the arrays or tensors of one frame to tables, with the checks of a file reader."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mot_core.io.table import BoxTable
from mot_core.structures import Array, to_numpy


def frame_table(
    frame: int,
    ids: Array,
    boxes_xyxy: Array,
    prefix: str,
    where: str,
    scores: Array | None = None,
    classes: Array | None = None,
) -> BoxTable:
    """Return the boxes of one frame as a table; ``prefix`` and ``where`` name the arguments in messages.

    >>> len(frame_table(1, [7], [[0, 0, 4, 2]], "gt_", "in frame 1"))
    1
    """
    boxes = _boxes(boxes_xyxy, f"{prefix}boxes_xyxy", where)
    columns = {"ids": ids, "scores": scores, "classes": classes}
    arrays: dict[str, npt.NDArray[Any]] = {
        name: to_numpy(column).reshape(-1) for name, column in columns.items() if column is not None
    }
    for name, column in arrays.items():
        if len(column) != len(boxes):
            raise ValueError(
                f"{prefix}{name} {where} must have one entry per box, got {len(column)} for {len(boxes)} boxes"
            )
        if name != "scores" and len(column) and not np.issubdtype(column.dtype, np.integer):
            raise TypeError(f"{prefix}{name} {where} must be integers, got {column.dtype}")
    identities = arrays["ids"].astype(np.int64)
    if (identities < 0).any():
        raise ValueError(
            f"{prefix}ids {where} must be 0 or more, got {identities.min()}; leave out boxes without identity"
        )
    unique, counts = np.unique(identities, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{prefix}ids {where} must be unique, got {unique[counts > 1][0]} more than once")
    optional = {name: column for name, column in arrays.items() if name != "ids"}
    return BoxTable(np.full(len(boxes), frame), identities, boxes, **cast(Any, optional))


def ignore_boxes(frame: int, boxes_xyxy: Array | None, where: str) -> BoxTable:
    """Return the ignore regions of one frame as a table.

    >>> len(ignore_boxes(1, None, "in frame 1"))
    0
    """
    boxes = np.zeros((0, 4)) if boxes_xyxy is None else _boxes(boxes_xyxy, "ignore_boxes_xyxy", where)
    return BoxTable(np.full(len(boxes), frame), np.full(len(boxes), -1), boxes)


def _boxes(boxes_xyxy: Array, name: str, where: str) -> npt.NDArray[np.float64]:
    boxes = to_numpy(boxes_xyxy).astype(np.float64)
    if not boxes.size:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} {where} must have shape (N, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        row = int(np.flatnonzero(~np.isfinite(boxes).all(1))[0])
        raise ValueError(f"{name} {where} must be finite, got {boxes[row].tolist()} in row {row}")
    return boxes
