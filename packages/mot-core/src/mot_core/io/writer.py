"""Writers for MOTChallenge and KITTI text files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import numpy.typing as npt

from mot_core.io.atomic import open_atomic
from mot_core.io.benchmarks import DONT_CARE, KITTI_CLASSES
from mot_core.io.mot import KINDS, Kind
from mot_core.io.table import BoxTable
from mot_core.structures import Tracks

if TYPE_CHECKING:
    from typing_extensions import Self


class ResultWriter:
    r"""Write the tracks of a sequence frame by frame as a MOTChallenge result file.

    A row is ``frame,id,left,top,width,height,score,-1,-1,-1``. The complete file appears when the ``with`` block ends
    without an exception; otherwise nothing is written and an older file is kept. Frames without tracks need no call.

    Args:
        path: Output file; missing folders are created.
        decimals: Number of decimals of box coordinates; with 4, corners are accurate to 1e-4 pixels.
        with_classes: Whether to write the class into column 8, from which :func:`read_mot` reads it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "video.txt"
    >>> with ResultWriter(path, decimals=1) as writer:
    ...     writer.write(1, Tracks(np.array([7]), np.array([[10., 20., 40., 60.]]), np.array([0.9])))
    >>> path.read_text()
    '1,7,10.0,20.0,30.0,40.0,0.9,-1,-1,-1\n'
    """

    def __init__(self, path: str | PathLike[str], *, decimals: int = 4, with_classes: bool = False) -> None:
        self.path = Path(path)
        self.decimals = decimals
        self.with_classes = with_classes
        self._exit = ExitStack()
        self._file: TextIO | None = None
        self._last_frame: int | None = None

    def __enter__(self) -> Self:
        self._file = self._exit.enter_context(open_atomic(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file = None
        self._exit.__exit__(kind, error, traceback)

    def write(self, frame: int, tracks: Tracks, marks: Sequence[bool] | None = None) -> None:
        """Add the tracks of one frame, as arrays or tensors.

        Args:
            frame: Frame number, larger than that of the previous call.
            tracks: Tracks with ``boxes_xyxy`` in pixels.
            marks: Values of the last column, one per track, such as whether a box was interpolated; -1 by default.

        Raises:
            ValueError: If the frame number does not increase, an identity is negative or occurs twice, or a box or
                score is not finite or has exchanged corners.
            RuntimeError: If called outside of the ``with`` block.
        """
        if self._file is None:
            name = type(self).__name__
            raise RuntimeError(f"{name}.write works only inside its block; use: with {name}(path) as writer: ...")
        if self._last_frame is not None and frame <= self._last_frame:
            raise ValueError(f"{self.path}: frame {frame} comes after frame {self._last_frame}; write frames in order")
        tracks = tracks.numpy()
        _check_tracks(frame, tracks)
        rows = self._rows(frame, tracks)
        if marks is not None:
            ending = ",-1\n"
            lines = zip(rows.splitlines(keepends=True), marks, strict=True)
            rows = "".join(f"{line.removesuffix(ending)},{mark:d}\n" for line, mark in lines)
        self._file.write(rows)
        self._last_frame = frame

    def _rows(self, frame: int, tracks: Tracks) -> str:
        _check_unique(frame, tracks.ids)
        classes = tracks.classes if self.with_classes else np.full(len(tracks), -1)
        frames = np.full(len(tracks), frame)
        columns = _mot_columns(frames, tracks.ids, tracks.boxes_xyxy, tracks.scores, self.decimals)
        return _format([*columns, classes], _mot_row(self.decimals) + ",%d,-1,-1\n")


class KittiResultWriter(ResultWriter):
    r"""Write the tracks of a sequence frame by frame as a KITTI tracking result file (2D).

    Like :class:`ResultWriter`, but ``tracks.classes`` are positions in ``KITTI_CLASSES``, frames count from 0, and an
    identity may occur once per class, because KITTI scores each class separately.

    Args:
        path: Output file; missing folders are created.
        decimals: Number of decimals of box coordinates.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "0000.txt"
    >>> car = Tracks(np.array([7]), np.array([[10., 20., 40., 60.]]), np.array([0.9]), np.array([0]))
    >>> with KittiResultWriter(path, decimals=1) as writer:
    ...     writer.write(0, car)
    >>> path.read_text()
    '0 7 Car -1 -1 -10 10.0 20.0 40.0 60.0 -1 -1 -1 -1000 -1000 -1000 -10 0.9\n'
    """

    def __init__(self, path: str | PathLike[str], *, decimals: int = 4) -> None:
        super().__init__(path, decimals=decimals, with_classes=True)

    def _rows(self, frame: int, tracks: Tracks) -> str:
        if len(tracks) and not 0 <= tracks.classes.min() <= tracks.classes.max() < DONT_CARE:
            raise ValueError(
                f"classes of frame {frame} must be positions in KITTI_CLASSES, 0 to {DONT_CARE - 1}, "
                f"got {sorted(set(tracks.classes.tolist()))}"
            )
        for number in np.unique(tracks.classes):
            _check_unique(frame, tracks.ids[tracks.classes == number])
        frames = np.full(len(tracks), frame)
        names = np.array(KITTI_CLASSES)[tracks.classes]
        box = f" %.{self.decimals}f" * 4
        columns = [frames, tracks.ids, names, *np.asarray(tracks.boxes_xyxy, np.float64).T, tracks.scores]
        return _format(columns, f"%d %d %s -1 -1 -10{box} -1 -1 -1 -1000 -1000 -1000 -10 %.6g\n")


def write_mot(path: str | PathLike[str], table: BoxTable, *, kind: Kind, decimals: int = 4) -> None:
    r"""Write a table as a MOTChallenge text file, atomically.

    Ground truth has ``conf, class, visibility`` as columns 7 to 9; detections have id -1; detections and results end
    with ``score, class, -1, -1``.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "det.txt"
    >>> write_mot(path, BoxTable([1], [7], [[0, 0, 4, 2]]), kind="detections", decimals=0)
    >>> path.read_text()
    '1,-1,0,0,4,2,1,-1,-1,-1\n'
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    ids = np.full(len(table), -1) if kind == "detections" else table.ids
    columns = [*_mot_columns(table.frames, ids, table.boxes_xyxy, table.scores, decimals), table.classes]
    ending = ",%d,-1,-1\n"
    if kind == "ground_truth":
        columns.append(table.visibility)
        ending = ",%d,%.4g\n"
    with open_atomic(path) as file:
        file.write(_format(columns, _mot_row(decimals) + ending))


def _check_tracks(frame: int, tracks: Tracks) -> None:
    boxes = tracks.boxes_xyxy
    if boxes.shape != (len(tracks), 4):
        raise ValueError(f"boxes_xyxy of frame {frame} must have shape ({len(tracks)}, 4), got {boxes.shape}")
    if not (np.isfinite(boxes).all() and np.isfinite(tracks.scores).all()):
        raise ValueError(f"boxes_xyxy and scores of frame {frame} must be finite, got NaN or infinity")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(f"boxes_xyxy of frame {frame} must be (left, top, right, bottom), got exchanged corners")
    if (tracks.ids < 0).any():
        raise ValueError(f"ids of frame {frame} must be 0 or more, got {tracks.ids.min()}")


def _check_unique(frame: int, ids: npt.NDArray[np.integer]) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        raise ValueError(f"ids of frame {frame} must be unique, got {values[counts.argmax()]} more than once")


def _mot_row(decimals: int) -> str:
    return "%d,%d" + f",%.{decimals}f" * 4 + ",%.6g"


def _mot_columns(
    frames: npt.NDArray[np.integer],
    ids: npt.NDArray[np.integer],
    boxes_xyxy: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    decimals: int,
) -> list[npt.NDArray[Any]]:
    # Corners are rounded first: rounding left and width separately would double the error of the right edge.
    left, top, right, bottom = np.asarray(boxes_xyxy, np.float64).round(decimals).T
    return [frames, ids, left, top, right - left, bottom - top, scores]


def _format(columns: list[npt.NDArray[Any]], row: str) -> str:
    return "".join(map(row.__mod__, zip(*(column.tolist() for column in columns), strict=True)))
