"""``check``: what is in a folder of sequences, and everything that is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from mot_core.io._check_sequence import SequenceSummary, check_sequence
from mot_core.io.benchmarks import get_benchmark
from mot_core.io.find import (
    kitti_names,
    kitti_root,
    open_kitti_sequence,
    open_sequence,
    sequence_folders,
)
from mot_core.io.guess import guess_benchmark
from mot_core.io.problems import DataError, Problem
from mot_core.io.sequence import Sequence

SHOWN = 5
"""Problems of one kind listed for a file; the rest is counted."""


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found.

    Attributes:
        path: the folder.
        benchmark: whose rules were used.
        sequences: what is there, one entry each.
        problems: errors and warnings, by sequence and file; of one kind in one file the first five and a count.
    """

    path: Path
    benchmark: str
    sequences: tuple[SequenceSummary, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no errors (warnings do not count)."""
        return not any(problem.severity == "error" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``path``, ``benchmark``, ``ok``, ``sequences`` and ``problems``."""
        return {
            "path": str(self.path),
            "benchmark": self.benchmark,
            "ok": self.ok,
            "sequences": [one.to_dict() for one in self.sequences],
            "problems": [{**asdict(problem), "file": str(problem.file)} for problem in self.problems],
        }


def check(path: str | PathLike[str], benchmark: str = "auto") -> CheckReport:
    """Look through the sequences of a folder: what is there, and every problem with file, line and how to mend it.

    Args:
        path: a sequence, a folder of sequences, or a KITTI folder, as for ``find_sequences``.
        benchmark: whose rules hold, or ``"auto"``; when that cannot be told it is an error in the report, and the
            rest is checked by the rules of ``generic``.

    Raises:
        FileNotFoundError: the folder is not there or holds no sequences.

    >>> import tempfile
    >>> from mot_core.io import make_scene
    >>> folder = make_scene(num_objects=3, num_frames=20).save(tempfile.mkdtemp(), "crossing")
    >>> report = check(folder, benchmark="generic")
    >>> report.ok, report.sequences[0].frames, report.sequences[0].identities
    (True, 20, 3)
    """
    root = Path(path)
    kitti = kitti_root(root)
    problems: list[Problem] = []
    if kitti:
        name = "KITTI"
        if benchmark.upper() not in ("AUTO", name):
            problems.append(_wrong_benchmark(root, f"the layout is that of KITTI, the benchmark {benchmark}", name))
        found = [_open_kitti(kitti, one) for one in kitti_names(kitti)]
    else:
        folders = sequence_folders(root)
        name, problems = _benchmark(root, folders, benchmark)
        found = [_open(folder, name) for folder in folders]
    summaries = []
    for sequence, opening in found:
        summary, more = check_sequence(sequence)
        summaries.append(summary)
        problems += [*opening, *more]
    return CheckReport(root, name, tuple(summaries), tuple(_shorten(problems)))


def _benchmark(root: Path, folders: list[Path], benchmark: str) -> tuple[str, list[Problem]]:
    if benchmark != "auto":
        name = get_benchmark(benchmark).name
        if name != "KITTI":
            return name, []
        return "generic", [_wrong_benchmark(root, "there is no folder label_02 or image_02 as in KITTI", "another")]
    try:
        return guess_benchmark(map(Path.absolute, folders)), []
    except ValueError as reason:
        message, remedy = str(reason).rsplit("; ", 1)
        return "generic", [Problem("error", root, None, message, f"{remedy} after --benchmark", "benchmark")]


def _wrong_benchmark(root: Path, message: str, choice: str) -> Problem:
    return Problem("error", root, None, message, f"choose {choice} after --benchmark", "benchmark")


def _open(folder: Path, benchmark: str) -> tuple[Sequence, list[Problem]]:
    try:
        return open_sequence(folder, benchmark), []
    except DataError as reason:
        problems = [reason.problem]
    try:
        return open_sequence(folder, benchmark, use_seqinfo=False), problems
    except DataError as reason:
        if reason.problem != problems[0]:
            problems.append(reason.problem)
    return Sequence(folder.name, folder, benchmark, length=0), problems


def _open_kitti(root: Path, name: str) -> tuple[Sequence, list[Problem]]:
    try:
        return open_kitti_sequence(root, name), []
    except DataError as first:
        return Sequence(name, root, "KITTI", length=0, first_frame=0), [first.problem]


def _shorten(problems: list[Problem]) -> Iterator[Problem]:
    """Of the problems of one kind in one file, the first few and a count."""
    totals = Counter((problem.file, problem.kind) for problem in problems)
    seen: Counter[tuple[Path, str]] = Counter()
    for problem in problems:
        key = problem.file, problem.kind
        seen[key] += 1
        if seen[key] <= SHOWN:
            yield problem
        elif seen[key] == totals[key]:
            message = f"{totals[key] - SHOWN} more lines have this kind of problem"
            yield replace(problem, line=None, message=message)
