"""Checks of one sequence."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mot_core.io.benchmarks import DONT_CARE
from mot_core.io.images import ImageFiles, depth_file, list_images, read_depth, read_image_size
from mot_core.io.kitti import scan_kitti
from mot_core.io.lengths import missing_frames
from mot_core.io.mot import Kind, scan_mot
from mot_core.io.problems import DataError, Problem
from mot_core.io.seqinfo import SeqInfo, read_seqinfo
from mot_core.io.sequence import Sequence, frames_outside, missing_classes
from mot_core.io.table import BoxTable

ENOUGH = 20
"""Minimum number of boxes for a pattern that is unlikely to be chance."""


@dataclass(frozen=True)
class SequenceSummary:
    """Contents of one sequence.

    Attributes:
        name: Name of the sequence.
        path: Folder of the sequence.
        frames: Number of frames.
        image_size: (height, width), or None if unknown.
        frame_rate: Frames per second, or None if unknown.
        rows: Number of ground-truth rows, or None without ground truth.
        boxes: Number of rows that count in the evaluation.
        identities: Number of identities among them.
        ignore_regions: Number of boxes in which unmatched results are not errors.
        detections: Number of detections by name of the detection file.
        images: Number of frames that have an image.
    """

    name: str
    path: Path
    frames: int
    image_size: tuple[int, int] | None
    frame_rate: float | None
    rows: int | None
    boxes: int | None
    identities: int | None
    ignore_regions: int
    detections: dict[str, int]
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a dict for JSON."""
        return {**asdict(self), "path": str(self.path)}


def check_sequence(sequence: Sequence) -> tuple[SequenceSummary, list[Problem]]:
    """Check every file of a sequence; a ``length`` of 0 means unknown."""
    checker = _SequenceChecker(sequence)
    images = checker.check_images()
    truth, regions = checker.check_ground_truth()
    counted = None if truth is None else truth.select(sequence.rules.counted(truth))
    summary = SequenceSummary(
        name=sequence.name,
        path=sequence.path,
        frames=sequence.length,
        image_size=sequence.image_size,
        frame_rate=sequence.frame_rate,
        rows=None if truth is None else len(truth),
        boxes=None if counted is None else len(counted),
        identities=None if counted is None else len(np.unique(counted.ids)),
        ignore_regions=len(regions),
        detections={name: checker.check_detections(name) for name in sequence.detection_names()},
        images=images,
    )
    return summary, checker.problems


@dataclass
class _SequenceChecker:
    """Collects the problems of a sequence, file by file."""

    sequence: Sequence
    problems: list[Problem] = field(default_factory=list)

    def note(
        self,
        severity: Literal["error", "warning"],
        file: Path,
        message: str,
        remedy: str,
        kind: str,
        line: int | None = None,
    ) -> None:
        self.problems.append(Problem(severity, file, line, message, remedy, kind))

    def check_images(self) -> int:
        """Compare seqinfo.ini and images; return the number of frames that have an image."""
        sequence = self.sequence
        images = list_images(sequence.image_dir) if sequence.image_dir else None
        if sequence.rules.layout == "mot":
            self._check_seqinfo(images)
        if sequence.image_dir is None or images is None or not sequence.length:
            return 0
        wanted = sequence.frame_numbers()
        missing, first = missing_frames(wanted, images.numbers)
        extra = [number for number in images.numbers if number not in wanted]
        if missing:
            message = f"{missing} of {len(wanted)} images are missing, the first is that of frame {first}"
            self.note("warning", sequence.image_dir, message, "copy them again or correct seqLength", "images")
        if extra:
            message = f"{len(extra)} images belong to no frame of the sequence, the first is number {extra[0]}"
            remedy = f"frames count from {sequence.first_frame}: renumber the images or correct seqLength"
            self.note("warning", sequence.image_dir, message, remedy, "images")
        if missing < len(wanted) and (sequence.path / "depth").is_dir():
            self._check_depth([images.name(number) for number in images.numbers if number in wanted])
        return len(wanted) - missing

    def _check_depth(self, names: list[str]) -> None:
        """Check the depth maps of the images with these names."""
        assert self.sequence.image_dir is not None, "checked by the caller"
        folder = self.sequence.path / "depth"
        maps = [depth_file(self.sequence.image_dir / name) for name in names]
        missing = [name for name, depth in zip(names, maps, strict=True) if depth is None]
        if missing:
            message = f"{len(missing)} of {len(names)} images have no depth map, the first is {missing[0]}"
            self.note("warning", folder, message, "add it, or losses of depth leave these frames out", "depth")
        for depth in filter(None, maps[:: max(len(maps) // ENOUGH, 1)]):
            try:
                size = read_depth(depth).shape
            except ValueError as error:
                self.note("error", depth, str(error).removeprefix(f"depth map {depth}: "), "correct it", "depth")
                return
            if self.sequence.image_size not in (None, size):
                message = f"the depth map is {size[1]}x{size[0]}, unlike its image"
                self.note("error", depth, message, "resize the depth maps", "depth")
                return

    def _check_seqinfo(self, images: ImageFiles | None) -> None:
        sequence, path = self.sequence, self.sequence.path / "seqinfo.ini"
        if not os.path.lexists(path):
            source = "the images" if images else "the last frame in gt and det; the end may be missing"
            message = f"the file is missing, so the length is that of {source}"
            self.note("warning", path, message, "add a seqinfo.ini", "seqinfo")
            return
        try:
            info = read_seqinfo(path)
        except DataError:
            return  # reported when the sequence was opened
        if info.length is None:
            self.note("warning", path, "seqLength is missing", "add it, so that empty last frames count", "seqinfo")
        if info.name not in (None, sequence.name):
            message = f"name is {info.name!r}, but the folder is {sequence.name!r}"
            self.note("warning", path, message, "the name of the folder is used; make them equal", "seqinfo")
        if images and sequence.image_dir:
            self._compare_sizes(path, info, sequence.image_dir, images)

    def _compare_sizes(self, path: Path, info: SeqInfo, image_dir: Path, images: ImageFiles) -> None:
        try:
            height, width = read_image_size(image_dir / images.name(images.numbers[0]))
        except DataError as error:
            self.problems.append(error.problem)
            return
        if info.image_size not in (None, (height, width)):
            message = f"imWidth and imHeight differ from the images, which are {width}x{height}"
            self.note("warning", path, message, "correct them if the boxes fit the images", "seqinfo")

    def check_ground_truth(self) -> tuple[BoxTable | None, BoxTable]:
        """Check the ground truth; return its table, or None without a file, and the ignore regions."""
        sequence, path = self.sequence, self.sequence.ground_truth_path
        ignore = sequence.path / "gt" / "ignore.txt"
        regions = BoxTable.empty()
        if sequence.rules.layout == "mot" and os.path.lexists(ignore):
            regions = self._scan(ignore, "detections")
        if not os.path.lexists(path):
            return None, regions
        table = self._scan(path, "ground_truth")
        if sequence.rules.layout == "kitti":
            regions = table.select(table.classes == DONT_CARE)
            table = table.select(table.classes != DONT_CARE)
        without_classes = missing_classes(table, sequence.rules)
        self.problems += without_classes
        if not without_classes:
            self._check_classes(table)
            self._check_counted(table)
        self._count(
            "warning", table, (table.scores != 0) & (table.scores != 1), "conf is neither 0 nor 1", "use 0 or 1"
        )
        size = table.boxes_xyxy[:, 2:] - table.boxes_xyxy[:, :2]
        self._count("warning", table, (size == 0).any(1), "the box has no area", "no result can match it; remove it")
        self._check_boxes(table)
        return table, regions

    def check_detections(self, name: str) -> int:
        """Check one detection file; return its number of detections."""
        table = self._scan(self.sequence.detection_path(name), "detections")
        outside = (table.scores < 0) | (table.scores > 1)
        if outside.any():
            message = f"scores lie between {table.scores.min():g} and {table.scores.max():g}, not in [0, 1]"
            self._count("warning", table, outside, message, "give the tracker thresholds that fit these scores")
        self._check_boxes(table)
        return len(table)

    def _scan(self, path: Path, kind: Kind) -> BoxTable:
        scan = scan_kitti if self.sequence.rules.layout == "kitti" else scan_mot
        try:
            table, problems = scan(path, kind)
        except DataError as error:
            self.problems.append(error.problem)
            return BoxTable.empty(path)
        if self.sequence.length:
            problems += frames_outside(table, self.sequence.frame_numbers())
        self.problems += sorted(problems, key=lambda problem: problem.line or 0)
        return table

    def _check_classes(self, table: BoxTable) -> None:
        rules = self.sequence.rules
        if rules.known_classes is not None:
            unknown = ~np.isin(table.classes, list(rules.known_classes))
            for row in np.flatnonzero(unknown):
                message = f"{rules.name} knows the classes 1 to {max(rules.known_classes)}, got {table.classes[row]}"
                self.note("error", self._file(table), message, "correct column 8", "class", int(table.lines[row]))
        elif rules.name == "MOT15" and np.isin(table.classes, range(2, 14)).any():
            message = "column 8 holds classes, which MOT15 does not have; they are ignored"
            self.note("warning", self._file(table), message, "check that the benchmark is right", "class")

    def _check_counted(self, table: BoxTable) -> None:
        sequence = self.sequence
        counted = table.select(sequence.rules.counted(table))
        if len(table) and not len(counted):
            names = " or ".join(one.name for one in sequence.rules.classes)
            message = f"none of {len(table)} rows counts as {names} by the rules of {sequence.rules.name}"
            self.note("error", self._file(table), message, "check conf, class and the benchmark", "counted")
            return
        if not sequence.length:
            return
        missing, first = missing_frames(sequence.frame_numbers(), counted.frames)
        if missing and sequence.rules.layout == "mot":
            message = f"{missing} of {sequence.length} frames have no box that counts, the first is {first}"
            self.note("warning", self._file(table), message, "correct if nobody is visible", "frames without boxes")

    def _check_boxes(self, table: BoxTable) -> None:
        left_top = table.boxes_xyxy[:, :2]
        size = table.boxes_xyxy[:, 2:] - left_top
        if len(table) >= ENOUGH and (size > left_top).all() and self.sequence.rules.layout == "mot":
            message = "every width is larger than left and every height larger than top"
            self.note("warning", self._file(table), message, "columns 5 and 6 may be right and bottom", "corners")
        if self.sequence.image_size is None:
            return
        height, width = self.sequence.image_size
        left, top, right, bottom = table.boxes_xyxy.T
        outside = (right <= 0) | (bottom <= 0) | (left >= width) | (top >= height)
        message = f"the box lies outside the image of {width}x{height}"
        self._count("warning", table, outside, message, "check that boxes and images have the same scale")

    def _count(
        self,
        severity: Literal["error", "warning"],
        table: BoxTable,
        rows: npt.NDArray[np.bool_],
        message: str,
        remedy: str,
    ) -> None:
        """Report one problem for all these rows, at the first one."""
        lines = np.sort(table.lines[rows])
        if len(lines):
            more = f" (the first of {len(lines)} rows)" if len(lines) > 1 else ""
            self.note(severity, self._file(table), message + more, remedy, message, int(lines[0]))

    def _file(self, table: BoxTable) -> Path:
        return table.path or self.sequence.path
