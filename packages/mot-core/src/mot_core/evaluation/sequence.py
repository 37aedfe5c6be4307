"""Scoring of the ground-truth and result tables of one sequence by the rules of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mot_core.evaluation.protocol import FramePair, prepare_frame, roles
from mot_core.evaluation.scores import Scores, score_frames
from mot_core.io.benchmarks import DONT_CARE, Benchmark, EvaluatedClass, get_benchmark
from mot_core.io.mot import repeated_ids
from mot_core.io.problems import raise_first
from mot_core.io.table import BoxTable


def score_sequence(
    ground_truth: BoxTable,
    results: BoxTable,
    benchmark: str | Benchmark,
    frames: range,
    *,
    ignore_regions: BoxTable | None = None,
    name: str = "sequence",
) -> dict[str, Scores]:
    """Score the results of one sequence.

    Args:
        ground_truth: All rows of the ground truth, including those that the benchmark does not count.
        results: Boxes with identities.
        benchmark: Rules, by name or as :class:`mot_core.io.Benchmark`.
        frames: Frame numbers of the sequence.
        ignore_regions: Boxes in which unmatched results are not false positives.
        name: Name of the sequence in messages.

    Returns:
        Scores of each class that the benchmark scores (one, except in KITTI).

    Raises:
        ValueError: If the ground truth lacks classes that the benchmark needs, a row lies outside of ``frames``, an
            identity is negative or occurs twice in a frame, or a box is not finite.

    >>> table = BoxTable([1, 2], [7, 7], [[0, 0, 10, 20], [1, 0, 11, 20]])
    >>> score_sequence(table, table, "generic", range(1, 3))["object"]["HOTA"]
    100.0
    """
    counted = count_frames(ground_truth, results, benchmark, frames, ignore_regions=ignore_regions, name=name)
    return {label: score_frames(pairs) for label, pairs in counted.items()}


def count_frames(
    ground_truth: BoxTable,
    results: BoxTable,
    benchmark: str | Benchmark,
    frames: range,
    *,
    ignore_regions: BoxTable | None = None,
    name: str = "sequence",
) -> dict[str, list[FramePair]]:
    """Return the boxes that count in each frame, by scored class; arguments as in :func:`score_sequence`."""
    rules = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    if rules.layout == "kitti":
        results = results.select(results.classes != DONT_CARE)
    for table, what in ((ground_truth, "ground truth"), (results, "results")):
        _check_rows(table, f"{what} of {name}", frames)
        raise_first(repeated_ids(table, by_class=rules.layout == "kitti")[1])
    check_ids(results, f"results of {name}")
    check_classes(ground_truth, rules, f"ground truth of {name}")
    _check_result_classes(results, rules, name)
    regions = ignore_regions if ignore_regions is not None else BoxTable.empty()
    return {one.name: list(prepare_frames(ground_truth, results, regions, rules, one, frames)) for one in rules.classes}


def prepare_frames(
    ground_truth: BoxTable,
    results: BoxTable,
    ignore_regions: BoxTable,
    benchmark: Benchmark,
    evaluated: EvaluatedClass,
    frames: range,
) -> Iterator[FramePair]:
    """Yield the boxes that count in each frame when one class is scored."""
    present, counted, distractor = roles(ground_truth, benchmark, evaluated)
    ground_truth, counted, distractor = ground_truth.select(present), counted[present], distractor[present]
    if benchmark.layout == "kitti":
        results = results.select(results.classes == evaluated.number)
    for number in frames:
        truth, found, regions = (table.frame(number) for table in (ground_truth, results, ignore_regions))
        yield prepare_frame(
            ground_truth.ids[truth],
            ground_truth.boxes_xyxy[truth],
            results.ids[found],
            results.boxes_xyxy[found],
            counted=counted[truth],
            distractor=distractor[truth],
            benchmark=benchmark,
            ignore_boxes_xyxy=ignore_regions.boxes_xyxy[regions],
        )


def location(table: BoxTable, row: int, otherwise: str) -> str:
    """Return file and line of a row, or ``otherwise`` for a table without file."""
    return otherwise if table.path is None else f"{table.path}:{table.lines[row]}"


def check_ids(table: BoxTable, what: str) -> None:
    """Reject rows without identity."""
    for row in np.flatnonzero(table.ids < 0)[:1]:
        raise ValueError(
            f"{location(table, row, what)}: expected an identity of 0 or more, got {table.ids[row]} in frame "
            f"{table.frames[row]}; detections without identities cannot be scored, track them first"
        )


def check_classes(ground_truth: BoxTable, benchmark: Benchmark, what: str) -> None:
    """Reject ground truth with classes that the benchmark does not have."""
    if benchmark.known_classes is None:
        return
    unknown = ~np.isin(ground_truth.classes, list(benchmark.known_classes))
    for row in np.flatnonzero(unknown)[:1]:
        number = ground_truth.classes[row]
        found = f"class {number} in column 8" if number >= 0 else "no class in column 8 (as MOT15 files)"
        raise ValueError(
            f"{location(ground_truth, row, what)}: {found}, but the rules of {benchmark.name} need one of "
            f"{min(benchmark.known_classes)} to {max(benchmark.known_classes)}; choose the benchmark of the files, "
            "or generic for your own data"
        )


def nothing_counts(what: str, rows: int, benchmark: Benchmark) -> str:
    """Return the message for ground truth that is empty under the rules of the benchmark."""
    numbers = [one.number for one in benchmark.classes if one.number is not None]
    wanted = "conf not 0" + (f" and class {' or '.join(map(str, numbers))}" if numbers else "")
    return (
        f"{what} is empty under the rules of {benchmark.name}: none of its {rows} rows counts ({wanted}); "
        "choose the benchmark of the files, or generic for your own data"
    )


def _check_rows(table: BoxTable, what: str, frames: range) -> None:
    outside = (table.frames < frames.start) | (table.frames >= frames.stop)
    for row in np.flatnonzero(outside)[:1]:
        raise ValueError(
            f"{location(table, row, what)}: frame {table.frames[row]}, but the sequence has frames "
            f"{frames.start} to {frames.stop - 1}; the rows may belong to another sequence"
        )
    for row in np.flatnonzero(~np.isfinite(table.boxes_xyxy).all(axis=1))[:1]:
        box = table.boxes_xyxy[row].tolist()
        raise ValueError(f"{location(table, row, what)}: box {box} in frame {table.frames[row]} is not finite")


def _check_result_classes(results: BoxTable, benchmark: Benchmark, name: str) -> None:
    """Reject results of other classes: as in TrackEval, they may omit the class but not name another one."""
    if benchmark.layout == "kitti" or not benchmark.needs_class_column:
        return
    other = (results.classes > 0) & (results.classes != benchmark.classes[0].number)
    for row in np.flatnonzero(other)[:1]:
        where = location(results, row, f"results of {name}")
        raise ValueError(
            f"{where}: class {results.classes[row]}, but {benchmark.name} scores "
            f"{benchmark.classes[0].name}s (class {benchmark.classes[0].number}) only; remove the other classes"
        )
