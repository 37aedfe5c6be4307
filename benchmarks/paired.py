"""Comparison of variants of a measurement over the same seeds: runs what is missing, and paired statistics.

A result file has a line for each run, with its key (for example tracker, variant and seed) and its measurements. Two
variants are compared by their differences for the same seed, which exclude what the seed itself changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeAlias

from scipy import stats

from benchmarks.pages import markdown

Line: TypeAlias = Mapping[str, Any]
Get: TypeAlias = Callable[[Line], float]

LOWER_IS_BETTER = frozenset({"IDSW"})


def read(results: Path) -> list[Line]:
    """Return all lines of a result file; empty if there is no file."""
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


def complete(
    results: Path, keys: Sequence[Mapping[str, Any]], measure: Callable[..., Line], processes: int = 2
) -> list[Line]:
    """Measure every key that no line of ``results`` has, and append a line for each as soon as it is known.

    If a run fails, the others still finish before its error is raised, and the next call repeats only what is missing.

    Args:
        results: File that gets the lines.
        keys: Keys of the wanted runs, in the order of starting.
        measure: Called with a key as keyword arguments. With more than one process, it must be importable.
        processes: Number of runs at a time, each in a process with one thread. 1 runs in this process.

    Returns:
        The last line of every key, in the order of ``keys``.
    """
    known = read(results)
    missing = [key for key in keys if not any(_has(line, key) for line in known)]
    if processes == 1:
        for key in missing:
            _append(results, {**key, **measure(**key)})
    elif missing:
        _measure_together(results, missing, measure, processes)
    known = read(results)
    return [[line for line in known if _has(line, key)][-1] for key in keys]


def _measure_together(
    results: Path, keys: Sequence[Mapping[str, Any]], measure: Callable[..., Line], processes: int
) -> None:
    failed: list[BaseException] = []
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_one_thread) as pool:
        running: dict[Future[Line], Mapping[str, Any]] = {pool.submit(measure, **key): key for key in keys}
        for done in as_completed(running):
            if (error := done.exception()) is None:
                _append(results, {**running[done], **done.result()})
            else:
                failed.append(error)
    if failed:
        raise failed[0]


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _append(results: Path, line: Line) -> None:
    text = json.dumps(line)
    with results.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text, flush=True)


def _has(line: Line, key: Mapping[str, Any]) -> bool:
    return all(name in line and line[name] == value for name, value in key.items())


def current(lines: Sequence[Line], *names: str) -> list[Line]:
    """Return the lines that agree in ``names`` with the last line of their tracker.

    Results of an earlier recipe stay in a file, but are not mixed with new ones.

    >>> lines = [{"tracker": "MOTIP", "seed": 0}, {"tracker": "MOTIP", "seed": 1, "recipe": "b"}]
    >>> current(lines, "recipe")
    [{'tracker': 'MOTIP', 'seed': 1, 'recipe': 'b'}]
    """
    last = {line["tracker"]: line for line in lines}
    return [line for line in lines if all(line.get(name) == last[line["tracker"]].get(name) for name in names)]


@dataclass(frozen=True)
class Summary:
    """Values of several seeds: scores of one variant, or paired differences of two.

    Attributes:
        mean: Mean over the seeds.
        deviation: Standard deviation; NaN for one seed.
        low: Lower limit of the 95 % confidence interval of the mean (Student's t); NaN for one seed.
        high: Upper limit.
        worst: Value of the worst seed.
        worst_seed: The worst seed.
        seeds: Number of seeds.
    """

    mean: float
    deviation: float
    low: float
    high: float
    worst: float
    worst_seed: int
    seeds: int

    @property
    def is_significant(self) -> bool:
        """Whether the confidence interval excludes 0."""
        return self.low > 0 or self.high < 0


def summarize(values: Mapping[int, float], *, lower_is_better: bool = False) -> Summary:
    """Summarize a value per seed.

    >>> found = summarize({0: 1.0, 1: 2.0, 2: 3.0})
    >>> round(found.low, 2), found.mean, round(found.high, 2), found.worst_seed  # 2 - 4.303 / sqrt(3)
    (-0.48, 2.0, 4.48, 0)

    Raises:
        ValueError: If there is no value.
    """
    if not values:
        raise ValueError("values: expected at least one seed, got none")
    numbers = list(values.values())
    center, deviation, half = mean(numbers), float("nan"), float("nan")
    if len(numbers) > 1:
        deviation = stdev(numbers)
        half = float(stats.t.ppf(0.975, len(numbers) - 1)) * deviation / len(numbers) ** 0.5
    worst_seed = (max if lower_is_better else min)(values, key=lambda seed: values[seed])
    return Summary(
        center, deviation, center - half, center + half, values[worst_seed], worst_seed, len(numbers)
    )  # fmt: skip


def difference(lines: Sequence[Line], others: Sequence[Line], get: Get, *, lower_is_better: bool = False) -> Summary:
    """Summarize how ``get`` differs between two variants, ``lines`` minus ``others``, over their common seeds.

    Raises:
        ValueError: If they have no seed in common.
    """
    values, before = by_seed(lines, get), by_seed(others, get)
    return summarize(
        {seed: value - before[seed] for seed, value in values.items() if seed in before},
        lower_is_better=lower_is_better,
    )


def by_seed(lines: Sequence[Line], get: Get) -> dict[int, float]:
    """Return the value of each seed; the last line of a seed counts."""
    return {line["seed"]: get(line) for line in lines}


def table(
    title: str, variants: Mapping[str, Sequence[Line]], getters: Mapping[str, Get], reference: str | None = None
) -> str:
    """Return a Markdown table: every variant, and its paired differences from the reference.

    Args:
        title: First column header.
        variants: Lines of each variant.
        getters: Functions that read each metric from a line.
        reference: Variant that the others are compared with. None: the first one.
    """
    reference = next(iter(variants), "") if reference is None else reference
    rows = [values_row(name, lines, getters) for name, lines in variants.items()]
    for name, lines in variants.items():
        if name != reference and reference in variants:
            rows.append(differences_row(f"{name} - {reference}", lines, variants[reference], getters))
    return markdown((title, "seeds", *getters), rows)


def values_row(name: str, lines: Sequence[Line], getters: Mapping[str, Get]) -> tuple[str, ...]:
    """Return name, number of seeds, and mean, standard deviation and worst seed of each metric; empty for none."""
    cells: list[str] = []
    if not lines:
        return (name, "0", *("" for _ in getters))
    for metric, get in getters.items():
        found = summarize(by_seed(lines, get), lower_is_better=metric in LOWER_IS_BETTER)
        text = f"{found.mean:.1f}"
        cells.append(text if found.seeds < 2 else f"{text} ± {found.deviation:.1f} (worst {found.worst:.1f})")
    return (name, str(len({line["seed"] for line in lines})), *cells)


def differences_row(
    name: str, lines: Sequence[Line], others: Sequence[Line], getters: Mapping[str, Get]
) -> tuple[str, ...]:
    """Return name, number of common seeds, and mean, 95 % interval and worst seed of each difference.

    A mean whose interval excludes 0 is bold. Cells are empty without a common seed.
    """
    common = {line["seed"] for line in lines} & {line["seed"] for line in others}
    if not common:
        return (f"*{name}*", "0", *("" for _ in getters))
    cells = []
    for metric, get in getters.items():
        found = difference(lines, others, get, lower_is_better=metric in LOWER_IS_BETTER)
        text = f"{found.mean:+.1f}"
        if found.seeds > 1:
            text = f"**{text}**" if found.is_significant else text
            text += f" ({found.low:+.1f} to {found.high:+.1f}; worst {found.worst:+.1f}, seed {found.worst_seed})"
        cells.append(text)
    return (f"*{name}*", str(len(common)), *cells)
