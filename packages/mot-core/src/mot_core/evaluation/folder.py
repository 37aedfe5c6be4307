"""Scoring of a folder of result files against a folder of ground truth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal, TypeVar

from mot_core.evaluation.report import ClassScores, Evaluation
from mot_core.evaluation.scores import Scores
from mot_core.evaluation.sequence import count_frames, nothing_counts, score_sequence
from mot_core.evaluation.switches import IdentitySwitch, find_switches
from mot_core.io import (
    Benchmark,
    BoxTable,
    Sequence,
    find_sequences,
    get_benchmark,
    guess_benchmark,
    read_kitti,
    read_mot,
)
from mot_core.io.problems import raise_first
from mot_core.io.sequence import frames_outside

Item = TypeVar("Item")

LISTED = 5


def evaluate(
    results: str | PathLike[str],
    gt: str | PathLike[str],
    *,
    benchmark: str = "auto",
    frames: tuple[int, int] | None = None,
    split: Literal["half-val"] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Score result files against ground truth.

    Args:
        results: Folder with files ``<sequence>.txt``, directly or in its folder ``data``, or one such file. Results of
            ``MOT17-02-DPM``, ``-FRCNN`` and ``-SDP`` match any ground truth of MOT17-02.
        gt: Folder of sequences, or one sequence. Sequences without a result file are not scored; they are listed in
            :attr:`Evaluation.missing` and mentioned in :attr:`Evaluation.notes`.
        benchmark: Key of :data:`mot_core.io.BENCHMARKS` that determines the rules, or "auto" to infer it from the
            names; "generic" if none fits, which :attr:`Evaluation.notes` mentions.
        frames: First and last frame to score, both included. None scores all frames.
        split: "half-val" scores only the second half of every sequence.
        progress: Whether to show a progress bar on stderr.

    Returns:
        Scores per sequence and combined.

    Raises:
        FileNotFoundError: If there are no results, no sequences, or no ground truth for some results.
        ValueError: If the benchmark is ambiguous or its rules do not match the sequences, results belong to
            another sequence, nothing in the ground truth counts, or a file is invalid. The message states a remedy.

    >>> import tempfile
    >>> from mot_core.io import make_scene, write_mot
    >>> root = Path(tempfile.mkdtemp())
    >>> scene = make_scene(num_objects=4, num_frames=30)
    >>> _ = scene.save(root / "gt", "crossing")
    >>> write_mot(root / "results" / "crossing.txt", scene.ground_truth, kind="results")
    >>> evaluate(root / "results", root / "gt", benchmark="generic").combined["HOTA"]
    100.0
    """
    rules, pairs, missing, source = _find_pairs(results, gt, benchmark, frames, split)
    scored: dict[str, dict[str, Scores]] = {}
    for sequence, ground_truth, files in _with_progress(_windows(pairs, rules, frames, split), progress, len(pairs)):
        numbers, regions = sequence.frame_numbers(), sequence.ignore_regions()
        for file in files:
            found = _read_results(file, sequence)
            scored[file.stem] = score_sequence(
                ground_truth, found, rules, numbers, ignore_regions=regions, name=file.stem
            )
    classes = {}
    for one in rules.classes:
        by_sequence = {name: scores[one.name] for name, scores in scored.items()}
        classes[one.name] = ClassScores(by_sequence, Scores.combine(by_sequence.values()))
    if all(one.combined["GT_Dets"] == 0 for one in classes.values()):
        raise ValueError(f"the ground truth in {source} has no boxes to score against; check the path and the frames")
    return Evaluation(rules.name, classes, tuple(missing), benchmark)


def explain_switches(
    results: str | PathLike[str],
    gt: str | PathLike[str],
    *,
    benchmark: str = "auto",
    frames: tuple[int, int] | None = None,
    split: Literal["half-val"] | None = None,
    detections: str | None = None,
) -> list[IdentitySwitch]:
    """Find the identity switches of result files and their causes (:func:`mot_core.evaluation.find_switches`).

    Args:
        results: As for :func:`evaluate`.
        gt: As for :func:`evaluate`.
        benchmark: As for :func:`evaluate`.
        frames: As for :func:`evaluate`.
        split: As for :func:`evaluate`.
        detections: Names of the detection files, separated by commas (the first that a sequence has is read), to find
            switches after a gap in which a detection of the object was not used. By default, they are not
            distinguished.

    Returns:
        All switches, by sequence, class and frame; as many as ``IDSW`` of :func:`evaluate`.

    Raises:
        FileNotFoundError: As for :func:`evaluate`, and if a sequence has no such detections.
        ValueError: As for :func:`evaluate`.

    >>> import tempfile
    >>> import numpy as np
    >>> from mot_core.io import make_scene, write_mot
    >>> root = Path(tempfile.mkdtemp())
    >>> scene = make_scene(num_objects=4, num_frames=30)
    >>> _ = scene.save(root / "gt", "crossing")
    >>> truth = scene.ground_truth
    >>> cut = np.where((truth.ids == 2) & (truth.frames > 10), 99, truth.ids)  # object 2 has a new track in frame 11
    >>> table = BoxTable(truth.frames, cut, truth.boxes_xyxy)
    >>> write_mot(root / "results" / "crossing.txt", table, kind="results")
    >>> for one in explain_switches(root / "results", root / "gt", benchmark="generic"):
    ...     print(one.sequence, one.frame, one.object, one.old, one.new, one.cause)
    crossing 11 2 2 99 rejected
    """
    rules, pairs, _, _ = _find_pairs(results, gt, benchmark, frames, split)
    switches: list[IdentitySwitch] = []
    for sequence, ground_truth, files in _windows(pairs, rules, frames, split):
        numbers, regions = sequence.frame_numbers(), sequence.ignore_regions()
        boxes = None if detections is None else sequence.detections(detections)
        for file in files:
            counted = count_frames(
                ground_truth, _read_results(file, sequence), rules, numbers, ignore_regions=regions, name=file.stem
            )
            for label, pairs_of_class in counted.items():
                switches += find_switches(
                    pairs_of_class,
                    numbers,
                    detections=None if boxes is None else lambda frame, of=boxes: of.boxes_xyxy[of.frame(frame)],  # type: ignore[misc]
                    sequence=file.stem,
                    label=label if len(counted) > 1 else "",
                )
    return switches


def _find_pairs(
    results: str | PathLike[str],
    gt: str | PathLike[str],
    benchmark: str,
    frames: tuple[int, int] | None,
    split: str | None,
) -> tuple[Benchmark, list[tuple[Sequence, list[Path]]], list[str], Path]:
    """Return the rules, the sequences with their result files, the names without results, and the path of ``gt``."""
    if frames and split:
        raise ValueError("frames and split exclude each other; give one of them")
    if split not in (None, "half-val"):
        raise ValueError(f"split must be half-val, got {split!r}")
    source = Path(gt)
    sequences = find_sequences(source, benchmark=benchmark)
    rules = get_benchmark(sequences[0].benchmark)
    _check_names(sequences, rules, source)
    return rules, *_pair(result_files(Path(results)), sequences, source), source


def _windows(
    pairs: list[tuple[Sequence, list[Path]]],
    rules: Benchmark,
    frames: tuple[int, int] | None,
    split: str | None,
) -> Iterator[tuple[Sequence, BoxTable, list[Path]]]:
    """Yield each sequence, limited to the frames to score, with its ground truth and result files."""
    for sequence, files in pairs:
        ground_truth = sequence.ground_truth()
        # A window without boxes is scored, as are KITTI sequences without cars or pedestrians.
        if len(ground_truth) and rules.layout == "mot" and not rules.counted(ground_truth).any():
            raise ValueError(nothing_counts(f"the ground truth of {sequence.name}", len(ground_truth), rules))
        window = sequence.window(*frames) if frames else sequence.half_val() if split else sequence
        yield window, _within(ground_truth, window.frame_numbers()), files


def result_files(results: Path) -> list[Path]:
    """Return the result files in a folder or in its folder ``data``, or the given file.

    >>> result_files(Path("no/such/folder"))
    Traceback (most recent call last):
    FileNotFoundError: there are no results at no/such/folder; check the path
    """
    if results.is_file():
        return [results]
    if not results.is_dir():
        raise FileNotFoundError(f"there are no results at {results}; check the path")
    # TrackEval leaves its own tables next to the results.
    here = [file for file in results.glob("*.txt") if not file.name.endswith("_summary.txt")]
    below = list((results / "data").glob("*.txt"))
    if here and below:
        raise ValueError(
            f"there are results in {results} ({here[0].name} ...) and in {results / 'data'}; "
            f"give {results / 'data'}, or move the files in it elsewhere"
        )
    if not here and not below:
        raise FileNotFoundError(f"there are no result files (<sequence>.txt) in {results} or {results / 'data'}")
    return sorted(here or below, key=lambda file: file.stem)


def _pair(
    files: list[Path], sequences: list[Sequence], source: Path
) -> tuple[list[tuple[Sequence, list[Path]]], list[str]]:
    """Return the sequences with their result files, and the names of those with ground truth but without results."""
    by_name = {sequence.name: sequence for sequence in sequences}
    by_video = {_video(sequence.name): sequence for sequence in reversed(sequences)}
    pairs: dict[str, list[Path]] = {}
    unknown = []
    for file in files:
        sequence = by_name.get(file.stem) or by_video.get(_video(file.stem))
        if sequence is None:
            unknown.append(str(file))
        elif not sequence.has_ground_truth:
            raise FileNotFoundError(
                f"there is no ground truth {sequence.ground_truth_path}; give only results of sequences that have one"
            )
        else:
            pairs.setdefault(sequence.name, []).append(file)
    if unknown:
        raise ValueError(
            f"there is no sequence for {_some(unknown)}: {source} has {_some(by_name)}; "
            "give the ground truth that the results belong to, or only results of these"
        )
    scored = {_video(name) for name in pairs}
    missing = [one.name for one in sequences if one.has_ground_truth and _video(one.name) not in scored]
    return [(by_name[name], its_files) for name, its_files in pairs.items()], missing


def _video(name: str) -> str:
    """Return the name of the video: MOT17 gives every video three names, one per public detector."""
    match = re.fullmatch(r"(MOT17-\d\d)(-(DPM|FRCNN|SDP))?", name)
    return match[1] if match else name


def _check_names(sequences: list[Sequence], rules: Benchmark, source: Path) -> None:
    """Reject rules that contradict the names of the sequences; ``generic`` never does."""
    try:
        named = get_benchmark(guess_benchmark(one.path for one in sequences))
    except ValueError:  # the names match no benchmark
        return
    if "generic" not in (named.name, rules.name) and _without_names(named) != _without_names(rules):
        raise ValueError(
            f"the sequences in {source} have names of {named.name}, which has other rules than {rules.name}; "
            f"choose {named.name} or auto, or generic for your own data"
        )


def _without_names(rules: Benchmark) -> Benchmark:
    """Return the rules with empty names, for comparison."""
    return replace(rules, name="", source="", classes=tuple(replace(one, name="") for one in rules.classes))


def _read_results(path: Path, sequence: Sequence) -> BoxTable:
    """Read the rows in the window of the sequence; rows outside of the whole sequence are an error."""
    table = (read_kitti if sequence.rules.layout == "kitti" else read_mot)(path, kind="results")
    numbers = sequence.frame_numbers()
    raise_first(frames_outside(table, sequence.window_of or numbers))
    return _within(table, numbers)


def _within(table: BoxTable, numbers: range) -> BoxTable:
    return table.select((table.frames >= numbers[0]) & (table.frames <= numbers[-1]))


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more


def _with_progress(items: Iterable[Item], progress: bool, total: int) -> Iterable[Item]:
    if not progress:
        return items
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, "scoring", total, console=console, transient=True, disable=not console.is_terminal)
