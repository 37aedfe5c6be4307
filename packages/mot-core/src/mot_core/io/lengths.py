"""Plausibility of the length of a sequence: work must be in proportion to its content, not to one wrong number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from mot_core.io.problems import error
from mot_core.io.table import BoxTable, Ints

LONGEST_GAP = 1_000_000
"""Frames without any box or image that are always accepted: nine hours at 30 frames per second."""
GAP_PER_FRAME = 100
"""Longer gaps are accepted up to this multiple of the number of frames that have a box or an image."""


def check_length(
    declared_in: Path,
    numbers: range,
    tables: Callable[[], Iterable[BoxTable]],
    images: Sequence[int] = (),
) -> None:
    """Reject a sequence with a gap that only a wrong length or frame number explains.

    A gap is a run of frames without any box or image. It is rejected if it is longer than ``LONGEST_GAP`` frames and
    longer than ``GAP_PER_FRAME`` times the number of frames that have a box or an image.

    Args:
        declared_in: File or folder that declares the length.
        numbers: Frame numbers of the sequence.
        tables: Function that returns the boxes; called only for lengths beyond ``LONGEST_GAP``.
        images: Numbers of the images.

    Raises:
        ValueError: If the length is not plausible; the message names the file, and the line of a frame number.

    >>> check_length(Path("seqinfo.ini"), range(1, 10**9), lambda: [], images=[1, 2, 3])
    Traceback (most recent call last):
    mot_core.io.problems.DataError: seqinfo.ini: expected a length near the last frame with an image or a box, which...
    >>> check_length(Path("seqinfo.ini"), range(1, 10**6), lambda: [], images=[1, 2, 3])
    """
    if len(numbers) <= LONGEST_GAP:
        return
    known = list(tables())
    frames = np.concatenate([np.asarray(images, np.int64), *(table.frames for table in known)])
    seen = np.unique(frames[(frames >= numbers[0]) & (frames <= numbers[-1])])
    edges = np.concatenate([[numbers[0] - 1], seen, [numbers[-1] + 1]])
    gaps = np.diff(edges) - 1
    longest = int(gaps.argmax())
    if gaps[longest] <= max(LONGEST_GAP, GAP_PER_FRAME * len(seen)):
        return
    before, after = int(edges[longest]), int(edges[longest + 1])
    last = f"is {before}" if len(seen) else "does not exist"
    if after > numbers[-1]:
        message = (
            f"expected a length near the last frame with an image or a box, which {last}, got {len(numbers)} frames"
        )
        raise error(declared_in, message, "correct the length", "length")
    file, line = _first_row(known, after, declared_in)
    message = f"expected a frame number near the one before, which {last}, got {after}"
    raise error(file, message, "correct it, or split the sequence", "length", line)


def _first_row(tables: Iterable[BoxTable], frame: int, otherwise: Path) -> tuple[Path, int | None]:
    """Return file and line of the first row of a frame; without rows, ``otherwise``."""
    for table in tables:
        lines = table.lines[table.frame(frame)]
        if table.path is not None and len(lines):
            return table.path, int(lines[0])
    return otherwise, None


def missing_frames(numbers: range, present: Sequence[int] | Ints) -> tuple[int, int]:
    """Return how many of ``numbers`` are not present and the first of them (0 if none), in memory of ``present`` only.

    >>> missing_frames(range(1, 1_000_001), [1, 2, 4, 2])
    (999997, 3)
    """
    found = np.asarray(present, np.int64)
    found = np.unique(found[(found >= numbers[0]) & (found <= numbers[-1])])
    count = len(numbers) - len(found)
    jumps = np.flatnonzero(found != numbers[0] + np.arange(len(found)))
    return count, numbers[0] + int(jumps[0] if len(jumps) else len(found)) if count else 0
