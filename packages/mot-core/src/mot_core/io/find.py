"""Search for sequences in folders of the MOTChallenge and KITTI layouts."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from mot_core.io.benchmarks import get_benchmark
from mot_core.io.guess import guess_benchmark
from mot_core.io.images import list_images, read_image_size
from mot_core.io.kitti import read_seqmap, scan_kitti
from mot_core.io.lengths import check_length
from mot_core.io.mot import scan_mot
from mot_core.io.problems import DataError, error
from mot_core.io.seqinfo import SeqInfo, read_seqinfo
from mot_core.io.sequence import LABELS, Sequence
from mot_core.io.table import BoxTable

KITTI_FRAME_RATE = 10.0


def find_sequences(
    source: str | PathLike[str],
    *,
    benchmark: str = "auto",
    image_size: tuple[int, int] | None = None,
    open_truth: bool = True,
) -> list[Sequence]:
    """Find the sequences in a folder.

    Without ``seqinfo.ini``, length and image size are those of the images; without images, the length is the last frame
    in ``gt`` and ``det``.

    Args:
        source: Folder of one sequence (with ``seqinfo.ini``, ``gt``, ``det`` or ``img1``), folder of such folders, or a
            KITTI folder with ``label_02`` (or its parent).
        benchmark: Key of ``BENCHMARKS``, or "auto" to infer it from the names; "generic" if none fits.
        image_size: (height, width) for sequences of unknown size.
        open_truth: Whether ground truth may be opened to determine the length.

    Returns:
        Sequences in order of their names.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no sequences.
        ValueError: If the names belong to several benchmarks, or the length of a sequence cannot be inferred.

    >>> import tempfile
    >>> from mot_core.io import make_scene
    >>> root = Path(tempfile.mkdtemp())
    >>> _ = make_scene(num_objects=3, num_frames=20).save(root, "crossing")
    >>> [(s.name, s.length) for s in find_sequences(root, benchmark="generic")]
    [('crossing', 20)]
    """
    root = Path(source)
    kitti = kitti_root(root)
    if kitti is not None:
        if benchmark not in ("auto", "KITTI"):
            raise ValueError(f"{kitti} is in the layout of KITTI, but the benchmark is {benchmark}; choose KITTI")
        return [open_kitti_sequence(kitti, name, image_size, open_truth) for name in kitti_names(kitti)]
    folders = sequence_folders(root)
    name = guess_benchmark(map(Path.absolute, folders)) if benchmark == "auto" else get_benchmark(benchmark).name
    if get_benchmark(name).layout == "kitti":
        raise ValueError(
            f"{root} is not in the layout of KITTI (no folder {LABELS} or image_02); choose another benchmark"
        )
    return [open_sequence(folder, name, image_size, open_truth=open_truth) for folder in folders]


def sequence_folders(root: Path) -> list[Path]:
    """Return ``root`` if it is a sequence, otherwise the sequences in it."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; check the path")
    if _is_sequence(root):
        return [root.resolve()] if root.name in ("", "..") else [root]
    children = sorted(child for child in root.iterdir() if child.is_dir())
    found = [child for child in children if _is_sequence(child)]
    if found:
        return found
    deeper = [child for child in children if kitti_root(child) or any(map(_is_sequence, _folders(child)))]
    hint = f"did you mean {' or '.join(map(str, deeper))}?" if deeper else "check the path"
    raise FileNotFoundError(
        f"there are no sequences in {root} (a sequence is a folder with seqinfo.ini, gt, det or img1); {hint}"
    )


def open_sequence(
    folder: Path,
    benchmark: str,
    image_size: tuple[int, int] | None = None,
    *,
    use_seqinfo: bool = True,
    open_truth: bool = True,
) -> Sequence:
    """Open the sequence in one folder of the MOTChallenge layout."""
    ini = folder / "seqinfo.ini"
    info = read_seqinfo(ini) if use_seqinfo and os.path.lexists(ini) else SeqInfo()
    image_dir = folder / info.image_dir
    images = list_images(image_dir)
    size = info.image_size
    if size is None and images:
        size = read_image_size(image_dir / images.name(images.numbers[0]))
    length = info.length or (images.numbers[-1] if images else _last_frame(folder, open_truth))
    check_length(
        ini if info.length else image_dir if images else folder,
        range(1, length + 1),
        lambda: _tables(folder, open_truth),
        images.numbers if images else (),
    )
    return Sequence(
        name=folder.name,
        path=folder,
        benchmark=benchmark,
        length=length,
        frame_rate=info.frame_rate,
        image_size=size or image_size,
        image_dir=image_dir if images else None,
        image_ext=images.extension if images else info.image_ext,
        image_digits=images.digits if images else 6,
    )


def kitti_root(root: Path) -> Path | None:
    """Return the KITTI folder: ``root`` or its folder ``training``, or None if neither is one."""
    for folder in (root, root / "training"):
        if (folder / LABELS).is_dir() or (folder / "image_02").is_dir():
            return folder
    return None


def kitti_names(root: Path) -> list[str]:
    """Return the names of the sequences of a KITTI folder."""
    names = {file.stem for file in (root / LABELS).glob("*.txt")}
    names |= {folder.name for folder in _folders(root / "image_02")}
    if not names:
        raise FileNotFoundError(f"there are no sequences in {root / LABELS}; check the path")
    return sorted(names)


def open_kitti_sequence(
    root: Path, name: str, image_size: tuple[int, int] | None = None, open_truth: bool = True
) -> Sequence:
    """Open one sequence of a KITTI folder."""
    image_dir = root / "image_02" / name
    images = list_images(image_dir)
    length = declared = read_seqmap(root).get(name)
    if length is None and images:
        length = images.numbers[-1] + 1
    if length is None:
        tables = _kitti_tables(root, name, open_truth)
        length = 1 + max((int(table.frames[-1]) for table in tables if len(table)), default=-1)
    if length < 1:
        raise _no_length(root / LABELS / f"{name}.txt")
    declared_in = image_dir if images else root / LABELS / f"{name}.txt"
    if declared is not None:
        declared_in = min(root.glob("evaluate_tracking.seqmap*"))
    numbers = images.numbers if images else ()
    check_length(declared_in, range(length), lambda: _kitti_tables(root, name, open_truth), numbers)
    if images:
        first = image_dir / images.name(images.numbers[0])
        image_size = read_image_size(first)
    return Sequence(
        name=name,
        path=root,
        benchmark="KITTI",
        length=length,
        first_frame=0,
        frame_rate=KITTI_FRAME_RATE,
        image_size=image_size,
        image_dir=image_dir if images else None,
        image_ext=images.extension if images else ".png",
        image_digits=images.digits if images else 6,
    )


def _last_frame(folder: Path, open_truth: bool) -> int:
    last = max((int(table.frames[-1]) for table in _tables(folder, open_truth) if len(table)), default=0)
    if last < 1:
        raise _no_length(folder)
    return last


def _tables(folder: Path, open_truth: bool) -> list[BoxTable]:
    """Return the rows of ground truth and detections; faulty lines are reported when the files are read, not here."""
    truth = folder / "gt" / "gt.txt"
    tables = [scan_mot(truth, "ground_truth")[0]] if open_truth and os.path.lexists(truth) else []
    return tables + [scan_mot(path, "detections")[0] for path in sorted(folder.glob("det/*.txt"))]


def _kitti_tables(root: Path, name: str, open_truth: bool) -> list[BoxTable]:
    files = [path for path in sorted(root.glob(f"*/{name}.txt")) if open_truth or path.parent.name != LABELS]
    return [scan_kitti(path, "detections")[0] for path in files]


def _no_length(path: Path) -> DataError:
    message = "the number of frames is unknown: there is no seqinfo.ini, no image and no row in gt or det"
    return error(path, message, "add a seqinfo.ini with seqLength", "length")


def _is_sequence(folder: Path) -> bool:
    return os.path.lexists(folder / "seqinfo.ini") or any((folder / name).is_dir() for name in ("gt", "det", "img1"))


def _folders(root: Path) -> list[Path]:
    return sorted(child for child in root.iterdir() if child.is_dir()) if root.is_dir() else []
