"""Detections of a run kept next to its results, so that a run with other tracker parameters skips the detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mot_core.io import BoxTable, open_atomic, read_mot
from mot_core.io.documents import read_yaml
from mot_core.io.mot import SMALLEST
from mot_core.structures import Detections

DECIMALS = 4


@dataclass(frozen=True)
class CachedDetections:
    """The file ``det/NAME.txt`` of detections, and ``det/NAME.yaml`` that states where they come from.

    Attributes:
        path: Text file in the format of MOTChallenge.
        origin: Detector, source and selection of frames and classes, as plain data.
    """

    path: Path
    origin: Mapping[str, Any]

    @cached_property
    def is_complete(self) -> bool:
        """Whether the file holds the detections of this very run."""
        record = self.path.with_suffix(".yaml")
        return self.path.is_file() and record.is_file() and read_yaml(record) == self.origin

    @cached_property
    def table(self) -> BoxTable:
        """All detections in the file."""
        return read_mot(self.path, kind="detections")

    def read(self, frame: int) -> Detections:
        """Return the detections of a frame."""
        rows = self.table.frame(frame)
        classes = self.table.classes[rows]
        known = bool(len(self.table)) and bool((self.table.classes >= 0).all())
        return Detections(self.table.boxes_xyxy[rows], self.table.scores[rows], classes if known else None)

    @contextmanager
    def writer(self) -> Iterator[DetectionWriter]:
        r"""Write the file frame by frame; both files appear when the block ends without an exception.

        >>> import tempfile
        >>> cache = CachedDetections(Path(tempfile.mkdtemp()) / "street.txt", {"detector": "mine:detect"})
        >>> with cache.writer() as writer:
        ...     _ = writer.write(1, Detections(np.array([[1, 2, 4.00001, 6]]), np.array([0.5])))
        >>> cache.path.read_text(), cache.is_complete
        ('1,-1,1.0000,2.0000,3.0000,4.0000,0.5,-1,-1,-1\n', True)
        """
        import yaml

        record = self.path.with_suffix(".yaml")
        record.unlink(missing_ok=True)  # an older record must never describe the new file
        with open_atomic(self.path) as file:
            yield DetectionWriter(file)
        with open_atomic(record) as file:
            yaml.safe_dump(dict(self.origin), file, sort_keys=False)


class DetectionWriter:
    """Write detections frame by frame as rows of MOTChallenge.

    Args:
        file: Opened text file.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, frame: int, found: Detections) -> Detections:
        """Write the detections of one frame, and return them as they will be read: rounded, without empty boxes."""
        boxes, scores = found.boxes_xyxy.round(DECIMALS), [float(f"{score:.6g}") for score in found.scores]
        kept = np.all(boxes[:, 2:] - boxes[:, :2] >= SMALLEST, axis=1)
        found = replace(found, boxes_xyxy=boxes, scores=np.array(scores))[kept]
        classes = np.full(len(found), -1) if found.classes is None else found.classes
        for (left, top, right, bottom), score, label in zip(found.boxes_xyxy, found.scores, classes, strict=True):
            size = f"{right - left:.{DECIMALS}f},{bottom - top:.{DECIMALS}f}"
            self._file.write(f"{frame},-1,{left:.{DECIMALS}f},{top:.{DECIMALS}f},{size},{score:.6g},{label},-1,-1\n")
        return found


def fingerprint(path: Path) -> str | None:
    """Return size and time of the last change of a file, or of the files in a folder; None if there is neither.

    >>> fingerprint(Path("no/such/file")) is None
    True
    """
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = [one for one in sorted(path.iterdir()) if one.is_file()]
    else:
        return None
    states = [one.stat() for one in files]
    changed = max((state.st_mtime_ns for state in states), default=0)
    return f"{len(states)} files, {sum(state.st_size for state in states)} bytes, changed {changed}"
