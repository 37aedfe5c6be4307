"""A sequence on disk: its description and its files as tables."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from mot_core.io.benchmarks import BENCHMARKS, DONT_CARE, Benchmark
from mot_core.io.kitti import read_kitti
from mot_core.io.mot import Kind, read_mot
from mot_core.io.problems import Problem, raise_first
from mot_core.io.table import BoxTable

LABELS = "label_02"


@dataclass(frozen=True)
class Sequence:
    """One sequence, or a window of it. Files are read only on demand.

    Attributes:
        name: Folder name; for KITTI the four digits.
        path: Folder of the sequence; for KITTI the folder that contains ``label_02``.
        benchmark: Key of ``BENCHMARKS``, which determines the rules.
        length: Number of frames from the first to the last.
        first_frame: Number of the first frame: 1, in KITTI 0, in a window its start.
        frame_rate: Frames per second, or None if unknown.
        image_size: (height, width), or None if unknown.
        image_dir: Folder of the images, or None without images.
        image_ext: Extension of the images, including the dot.
        image_digits: Number of digits in image names.
        present: Frame numbers that exist if some between the first and the last are missing, otherwise None.
        window_of: All frames of the files if this is a window of them, otherwise None.

    >>> sequence = Sequence("MOT17-02-FRCNN", Path("MOT17-02-FRCNN"), "MOT17", length=600)
    >>> sequence.half_val().frame_numbers()
    range(302, 601)
    """

    name: str
    path: Path
    benchmark: str
    length: int
    first_frame: int = 1
    frame_rate: float | None = None
    image_size: tuple[int, int] | None = None
    image_dir: Path | None = None
    image_ext: str = ".jpg"
    image_digits: int = 6
    present: tuple[int, ...] | None = None
    window_of: range | None = field(default=None, repr=False)

    @property
    def rules(self) -> Benchmark:
        """Protocol of the benchmark."""
        return BENCHMARKS[self.benchmark]

    def frame_numbers(self) -> range:
        """Return the real frame numbers from the first to the last."""
        return range(self.first_frame, self.first_frame + self.length)

    def present_numbers(self) -> range | tuple[int, ...]:
        """Return the numbers of the frames that exist: all, except in a plain folder of images with gaps.

        >>> Sequence("trip", Path("trip"), "generic", length=5, present=(1, 2, 5)).window(2, 5).present_numbers()
        (2, 5)
        """
        return self.frame_numbers() if self.present is None else self.present

    def image_path(self, frame: int) -> Path | None:
        """Return the path of the image of a frame, or None if it does not exist."""
        if self.image_dir is None:
            return None
        path = self.image_dir / f"{frame:0{self.image_digits}d}{self.image_ext}"
        return path if path.is_file() else None

    def window(self, first: int, last: int) -> Sequence:
        """Return the frames ``first`` to ``last``, both included, with their real numbers.

        Raises:
            ValueError: If some of them are not frames of the sequence, or none of them exists.
        """
        numbers = self.frame_numbers()
        if not numbers[0] <= first <= last <= numbers[-1]:
            raise ValueError(
                f"frames {first}-{last} are not a part of {self.name}, which has {numbers[0]}-{numbers[-1]}; "
                "choose frames within it"
            )
        present = None if self.present is None else tuple(frame for frame in self.present if first <= frame <= last)
        if present == ():
            raise ValueError(f"none of the frames {first}-{last} of {self.name} exists; choose frames with images")
        return replace(
            self, first_frame=first, length=last - first + 1, present=present, window_of=self.window_of or numbers
        )

    def half_val(self) -> Sequence:
        """Return the second half, as in the usual "half-val" split: from frame ``length // 2 + 2`` on."""
        numbers = self.frame_numbers()
        if self.length < 3:
            raise ValueError(f"{self.name} has {self.length} frames, too few for a half; leave out --split half-val")
        return self.window(numbers[0] + self.length // 2 + 1, numbers[-1])

    @property
    def ground_truth_path(self) -> Path:
        """Path of the ground truth, whether or not it exists."""
        return self.path / LABELS / f"{self.name}.txt" if self._is_kitti else self.path / "gt" / "gt.txt"

    @property
    def has_ground_truth(self) -> bool:
        """Whether the ground-truth file exists; one that is not a regular file is an error when it is read."""
        return os.path.lexists(self.ground_truth_path)

    def ground_truth(self) -> BoxTable:
        """Read all ground-truth rows except KITTI's DontCare regions; ``rules.counted`` selects those that count.

        Raises:
            FileNotFoundError: If there is no ground truth.
            ValueError: If the file is invalid, or lacks classes that the benchmark needs.
        """
        table = self._read(self.ground_truth_path, "ground_truth")
        raise_first(missing_classes(table, self.rules))
        return table.select(table.classes != DONT_CARE) if self._is_kitti else table

    def ignore_regions(self) -> BoxTable:
        """Read the regions in which results are not errors: ``gt/ignore.txt`` or KITTI's DontCare; often empty."""
        if self._is_kitti:
            table = self._read(self.ground_truth_path, "ground_truth")
            return table.select(table.classes == DONT_CARE)
        path = self.path / "gt" / "ignore.txt"
        if self.rules.ignore_region_overlap is None or not os.path.lexists(path):
            return BoxTable.empty()
        return self._read(path, "detections")

    def detection_names(self) -> list[str]:
        """Return the names of the detection files (``det/NAME.txt``; KITTI: folders ``NAME`` next to ``label_02``)."""
        if self._is_kitti:
            files = self.path.glob(f"*/{self.name}.txt")
            return sorted(file.parent.name for file in files if file.parent.name != LABELS)
        return sorted(file.stem for file in self.path.glob("det/*.txt"))

    def detections(self, names: str | None = None) -> BoxTable:
        """Read the detections of one file.

        Args:
            names: Name as in :meth:`detection_names`, or several separated by commas: the first that exists is read.
                By default ``det``, or the only file of another name.

        Raises:
            FileNotFoundError: If none of them exists; the message lists those that do.
        """
        present = self.detection_names()
        if names is None:
            names = present[0] if len(present) == 1 else "det"
        for name in names.split(","):
            if name.strip() in present:
                return self._read(self.detection_path(name.strip()), "detections")
        choice = f"choose from {', '.join(present)}" if present else f"it has no detections at all; {self._remedy()}"
        raise FileNotFoundError(f"sequence {self.name} has no detections {names!r} ({self.path}); {choice}")

    def _remedy(self) -> str:
        """Return the ways to get detections."""
        row = "'frame,-1,left,top,width,height,score'"
        own = "in the format of KITTI" if self._is_kitti else f"with lines {row}"
        return (
            f"write {self.detection_path('det')} {own}, run a detector on the images with mot track --detector, or use "
            "a trained tracker with mot track --checkpoint"
        )

    def detection_path(self, name: str) -> Path:
        """Return the path of the detections called ``name``, whether or not they exist."""
        return self.path / name / f"{self.name}.txt" if self._is_kitti else self.path / "det" / f"{name}.txt"

    @property
    def _is_kitti(self) -> bool:
        return self.rules.layout == "kitti"

    def _read(self, path: Path, kind: Kind) -> BoxTable:
        table = read_kitti(path, kind=kind) if self._is_kitti else read_mot(path, kind=kind)
        numbers = self.frame_numbers()
        raise_first(frames_outside(table, self.window_of or numbers))
        if self.window_of is None:
            return table
        return table.select((table.frames >= numbers[0]) & (table.frames <= numbers[-1]))


def frames_outside(table: BoxTable, numbers: range) -> list[Problem]:
    """Return a problem for every row with a frame outside ``numbers``."""
    outside = table.select((table.frames < numbers[0]) | (table.frames > numbers[-1]))
    return [
        Problem(
            "error",
            table.path or Path(),
            line,
            f"frame {frame} is outside the sequence, which has the frames {numbers[0]}-{numbers[-1]}",
            "the file may belong to another sequence, or seqLength in seqinfo.ini is wrong",
            "past the end",
        )
        for line, frame in zip(outside.lines.tolist(), outside.frames.tolist(), strict=True)
    ]


def missing_classes(table: BoxTable, rules: Benchmark) -> list[Problem]:
    """Return a problem if the benchmark scores a class but the ground truth has no classes."""
    if not (rules.needs_class_column and len(table) and (table.classes == -1).all()):
        return []
    return [
        Problem(
            "error",
            table.path or Path(),
            None,
            f"{rules.name} scores class {rules.classes[0].number}, but this ground truth has no classes in column 8",
            "choose another benchmark (generic counts every row), or add the classes",
            "classes",
        )
    ]
