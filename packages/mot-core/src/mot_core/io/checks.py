"""``check``: summarize a folder of sequences and list all problems."""

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
"""Number of problems of one kind listed per file; the rest is counted."""


@dataclass(frozen=True)
class CheckReport:
    """Result of :func:`check`.

    Attributes:
        path: Checked folder.
        benchmark: Name of the benchmark with the rules used.
        sequences: Summary of each sequence.
        problems: Errors and warnings by sequence and file; for each kind and file, the first five and a count.
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
        """Return ``path``, ``benchmark``, ``ok``, ``sequences`` and ``problems`` as a dict for JSON."""
        return {
            "path": str(self.path),
            "benchmark": self.benchmark,
            "ok": self.ok,
            "sequences": [one.to_dict() for one in self.sequences],
            "problems": [{**asdict(problem), "file": str(problem.file)} for problem in self.problems],
        }


def check(path: str | PathLike[str], benchmark: str = "auto") -> CheckReport:
    """Check the sequences of a folder: summarize them and list every problem with file, line and remedy.

    Args:
        path: A sequence, a folder of sequences, or a KITTI folder, as for :func:`find_sequences`.
        benchmark: Name of the benchmark, or "auto" to infer it from the names; ``generic`` if none fits. If the names
            contradict each other, the report contains an error and the rest is checked with the rules of ``generic``.

    Returns:
        Summaries of the sequences and all problems.

    Raises:
        FileNotFoundError: If the folder does not exist or contains no sequences.

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
    return CheckReport(root, name, tuple(summaries), tuple(_shorten(list(dict.fromkeys(problems)))))


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
    """Keep the first problems of each kind and file, followed by a count of the rest."""
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
