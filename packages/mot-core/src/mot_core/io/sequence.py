"""A sequence on disk: its description, and its files as tables."""

from __future__ import annotations

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
    """One sequence, or a window of it. Nothing is read before it is asked for.

    Attributes:
        name: folder name; KITTI: the four digits.
        path: its folder; KITTI: the folder that holds ``label_02``.
        benchmark: name in ``BENCHMARKS``, whose rules hold for it.
        length: number of frames.
        first_frame: number of the first frame: 1, in KITTI 0, in a window its begin.
        frame_rate: frames per second, None where unknown.
        image_size: (height, width), None where unknown.
        image_dir: folder of the images, None where there are none.
        image_ext: their extension, with the dot.
        image_digits: digits of their names.
        window_of: all frames of the files, where this is a window of them.

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
    window_of: range | None = field(default=None, repr=False)

    @property
    def rules(self) -> Benchmark:
        """The protocol of its benchmark."""
        return BENCHMARKS[self.benchmark]

    def frame_numbers(self) -> range:
        """The real numbers of its frames."""
        return range(self.first_frame, self.first_frame + self.length)

    def image_path(self, frame: int) -> Path | None:
        """The image of a frame, None where it is not there."""
        if self.image_dir is None:
            return None
        path = self.image_dir / f"{frame:0{self.image_digits}d}{self.image_ext}"
        return path if path.is_file() else None

    def window(self, first: int, last: int) -> Sequence:
        """The frames ``first`` to ``last``, both included, under their real numbers.

        Raises:
            ValueError: they are not all frames of the sequence.
        """
        numbers = self.frame_numbers()
        if not numbers[0] <= first <= last <= numbers[-1]:
            raise ValueError(
                f"frames {first}-{last} are not a part of {self.name}, which has {numbers[0]}-{numbers[-1]}; "
                "choose frames within it"
            )
        return replace(self, first_frame=first, length=last - first + 1, window_of=self.window_of or numbers)

    def half_val(self) -> Sequence:
        """The second half, as in the usual "half-val" split: from frame ``length // 2 + 2`` if frames count from 1."""
        numbers = self.frame_numbers()
        if self.length < 3:
            raise ValueError(f"{self.name} has {self.length} frames, too few for a half; leave out --split half-val")
        return self.window(numbers[0] + self.length // 2 + 1, numbers[-1])

    @property
    def ground_truth_path(self) -> Path:
        """Where its ground truth is, or would be."""
        return self.path / LABELS / f"{self.name}.txt" if self._is_kitti else self.path / "gt" / "gt.txt"

    @property
    def has_ground_truth(self) -> bool:
        """Whether it has a ground-truth file."""
        return self.ground_truth_path.is_file()

    def ground_truth(self) -> BoxTable:
        """All rows of its ground truth; ``rules.counted`` tells which count. Without KITTI's DontCare regions.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is faulty, or has no classes although the benchmark needs them.
        """
        table = self._read(self.ground_truth_path, "ground_truth")
        raise_first(missing_classes(table, self.rules))
        return table.select(table.classes != DONT_CARE) if self._is_kitti else table

    def ignore_regions(self) -> BoxTable:
        """Regions in which results are no errors: ``gt/ignore.txt``, KITTI's DontCare; often without rows."""
        if self._is_kitti:
            table = self._read(self.ground_truth_path, "ground_truth")
            return table.select(table.classes == DONT_CARE)
        path = self.path / "gt" / "ignore.txt"
        if self.rules.ignore_region_overlap is None or not path.is_file():
            return BoxTable.empty()
        return self._read(path, "detections")

    def detection_names(self) -> list[str]:
        """Its detection files, as in ``det/NAME.txt``; KITTI: folders ``NAME`` beside ``label_02``."""
        if self._is_kitti:
            files = self.path.glob(f"*/{self.name}.txt")
            return sorted(file.parent.name for file in files if file.parent.name != LABELS)
        return sorted(file.stem for file in self.path.glob("det/*.txt"))

    def detections(self, names: str = "det") -> BoxTable:
        """The detections from one file.

        Args:
            names: name as in ``detection_names``, or several with commas: the first present is read.

        Raises:
            FileNotFoundError: none of them is there; the message lists what is.
        """
        present = self.detection_names()
        for name in names.split(","):
            if name.strip() in present:
                return self._read(self.detection_path(name.strip()), "detections")
        choice = f"choose from {', '.join(present)}" if present else "it has no detections at all"
        raise FileNotFoundError(f"sequence {self.name} has no detections {names!r} ({self.path}); {choice}")

    def detection_path(self, name: str) -> Path:
        """Where its detections called ``name`` are, or would be."""
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
    """A problem for every row whose frame is none of ``numbers``."""
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
    """A problem where the benchmark scores a class and the ground truth tells none."""
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
