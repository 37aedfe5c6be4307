"""Reading of detections from files, without opening ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from mot_core.io import BoxTable, find_sequences, read_mot
from mot_core.io.lengths import check_length

Paths: TypeAlias = str | PathLike[str] | Sequence[str | PathLike[str]]
"""One path or several paths."""


@dataclass(frozen=True, eq=False)
class DetectionSequence:
    """Detections of one sequence.

    Attributes:
        name: Name of the sequence.
        table: Detections; their identities are not read.
        frames: Numbers of all frames.
        image_size: Image height and width in pixels.
        embeddings: Appearance embeddings ``(rows of the table, E)``, for example from ``embed_detections``, or None.

    Raises:
        ValueError: If the number of embeddings and detections differ.

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
                f"{self.name}: expected embeddings of shape {(len(self.table), 'E')}, one row per detection, got "
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
    """Read detections from folders or files. In a folder, only ``seqinfo.ini`` and detections are opened.

    Args:
        root: Folder of one sequence or several, a text file of detections, or a list of them. A result file of
            ``mot track`` is accepted; its identities are not read.
        detections: Name of the detection file ``det/NAME.txt`` of a sequence; of several comma-separated names, the
            first that the sequence has.
        benchmark: Name of the benchmark, or "generic" for custom data; "auto" infers it from the sequence names.
        names: Patterns of sequence names to read, such as ``*-FRCNN``; all sequences by default.
        min_score: Minimum detection score.
        image_size: Image height and width, for text files and for sequences that do not declare it.

    Raises:
        FileNotFoundError: If a folder, file or detection file does not exist.
        ValueError: If no sequence matches ``names``, or an image size is unknown.

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
                    f"{sequence.path}: expected an image size, which sets the clutter density, got none; add a "
                    "seqinfo.ini with imWidth and imHeight, or pass image_size"
                )
            table = sequence.detections(detections)
            found.append(DetectionSequence(sequence.name, table, sequence.frame_numbers(), sequence.image_size))
    if not found:
        where = ", ".join(map(str, paths)) or "an empty list; pass a folder or a file"
        raise ValueError(f"root: expected detections{f' of {list(names)}' if names else ''}, found none in {where}")
    return [
        DetectionSequence(one.name, one.table.select(one.table.scores >= min_score), one.frames, one.image_size)
        for one in found
    ]


def _read_file(path: Path, image_size: tuple[int, int] | None) -> DetectionSequence:
    if image_size is None:
        raise ValueError(f"{path}: expected image_size, which a text file does not declare, got none; pass image_size")
    table = read_mot(path, kind="detections")
    last = int(table.frames[-1]) if len(table) else 0
    frames = range(1, last + 1)
    check_length(path, frames, lambda: [table])
    return DetectionSequence(path.stem, table, frames, image_size)


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch(name, pattern) for pattern in patterns)
