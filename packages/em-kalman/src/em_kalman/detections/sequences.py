"""Detections from files; ground truth is not opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from mot_core.io import BoxTable, find_sequences, read_mot

Paths: TypeAlias = str | PathLike[str] | Sequence[str | PathLike[str]]
"""One path, or several."""


@dataclass(frozen=True, eq=False)
class DetectionSequence:
    """The detections of one sequence.

    Attributes:
        name: of the sequence.
        table: the detections; its identities are not read.
        frames: numbers of all frames.
        image_size: (height, width).
        embeddings: ``(rows of the table, E)`` appearance, such as of ``embed_detections``, or
            None.

    Raises:
        ValueError: there are not as many embeddings as detections.

    >>> table = BoxTable([1, 2], [-1, -1], [[0, 0, 4, 2], [1, 0, 5, 2]])
    >>> DetectionSequence("street", table, range(1, 3), (480, 640)).image_size
    (480, 640)
    """

    name: str
    table: BoxTable
    frames: range
    image_size: tuple[int, int]
    embeddings: Tensor | None = None

    def __post_init__(self) -> None:
        found = self.embeddings
        if found is not None and (found.ndim != 2 or len(found) != len(self.table)):
            raise ValueError(
                f"{self.name}: embeddings must have shape {(len(self.table), 'E')}, one row per detection, got "
                f"{tuple(found.shape)}"
            )


def read_detections(
    root: Paths,
    detections: str = "det",
    *,
    benchmark: str = "auto",
    names: Sequence[str] = (),
    min_score: float = float("-inf"),
    image_size: tuple[int, int] | None = None,
) -> list[DetectionSequence]:
    """The detections in folders or files. Of a folder, only descriptions and detections are opened.

    Args:
        root: a sequence, a folder of sequences, a text file of detections, or several of them. A result file
            of ``mot track`` will do; its identities are not read.
        detections: of a sequence, read ``det/NAME.txt``; of several names, by commas, the first that it has.
        benchmark: name of the benchmark, "generic" for own data; "auto" tells it from the names of the sequences.
        names: only sequences of these names, as ``*-FRCNN``; all by default.
        min_score: lowest score of a detection.
        image_size: (height, width) where a sequence does not tell it, and of text files.

    Raises:
        FileNotFoundError: there is no such folder or file, or no such detections.
        ValueError: nothing has one of the names, or the size of images is not known.

    >>> import tempfile
    >>> from mot_core.io import make_scene
    >>> folder = make_scene(num_objects=4, num_frames=45).save(tempfile.mkdtemp(), "street")
    >>> len(read_detections(folder, benchmark="generic")[0].table)
    189
    >>> read_detections(folder / "det" / "det.txt", image_size=(1080, 1920))[0].frames
    range(1, 46)
    """
    paths = [root] if isinstance(root, str | PathLike) else root
    found = []
    for path in map(Path, paths):
        if path.is_file():
            found += [_read_file(path, image_size)] if _is_named(path.stem, names) else []
            continue
        for sequence in find_sequences(path, benchmark=benchmark, image_size=image_size, open_truth=False):
            if not _is_named(sequence.name, names):
                continue
            if sequence.image_size is None:
                raise ValueError(
                    f"{sequence.path} does not tell the size of its images, which is the density of clutter: give it a "
                    "seqinfo.ini with imWidth and imHeight, or give image_size"
                )
            table = sequence.detections(detections)
            found.append(DetectionSequence(sequence.name, table, sequence.frame_numbers(), sequence.image_size))
    if not found:
        where = ", ".join(map(str, paths)) or "nowhere: give a folder or a file as root"
        raise ValueError(f"there are no detections{f' of {list(names)}' if names else ''} in {where}")
    return [
        DetectionSequence(one.name, one.table.select(one.table.scores >= min_score), one.frames, one.image_size)
        for one in found
    ]


def _read_file(path: Path, image_size: tuple[int, int] | None) -> DetectionSequence:
    if image_size is None:
        raise ValueError(f"{path} is a file, which does not tell the size of its images: give image_size")
    table = read_mot(path, kind="detections")
    last = int(table.frames[-1]) if len(table) else 0
    return DetectionSequence(path.stem, table, range(1, last + 1), image_size)


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch(name, pattern) for pattern in patterns)
