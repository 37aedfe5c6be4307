"""Search space of a sweep, read from the YAML file of a W&B sweep."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import floor, isfinite, prod
from pathlib import Path
from typing import Any, Literal

from mot_core.cli.fit.configs import find_config
from mot_core.io.documents import read_yaml

Scalar = bool | int | float | str
MOST_POINTS = 100_000  # of a grid
METHODS = ("grid", "random", "bayes")
DISTRIBUTIONS = ("constant", "categorical", "uniform", "int_uniform", "q_uniform", "log_uniform_values")
# Keys that are read, or that concern W&B's server only.
KEYS = {"method", "metric", "parameters", "command", "early_terminate", "run_cap", "name", "description", "program"}
KEYS |= {"project", "entity"}


@dataclass(frozen=True)
class Dimension:
    """One parameter of a search.

    Attributes:
        name: Flag of ``mot fit``, without dashes.
        kind: W&B name of the distribution.
        values: All values of a ``constant`` or ``categorical`` distribution.
        low: Smallest value of the other distributions.
        high: Largest value of the other distributions.
        step: Step between values of ``q_uniform``.
    """

    name: str
    kind: str
    values: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 1.0

    def suggest(self, trial: Any) -> Scalar:
        """Return a value chosen by the sampler of an Optuna trial."""
        if self.kind == "constant":
            return self.values[0]
        if self.kind == "categorical":
            chosen: Scalar = trial.suggest_categorical(self.name, list(self.values))
            return chosen
        if self.kind == "int_uniform":
            return int(trial.suggest_int(self.name, int(self.low), int(self.high)))
        if self.kind == "q_uniform":
            highest = self.low + self.step * (self.num_values() - 1)
            return float(trial.suggest_float(self.name, self.low, highest, step=self.step))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.kind == "log_uniform_values"))

    def num_values(self) -> int:
        """Return the number of values of a discrete distribution.

        Raises:
            ValueError: If the distribution is continuous.
        """
        if self.values:
            return len(self.values)
        if self.kind == "int_uniform":
            return int(self.high) - int(self.low) + 1
        if self.kind == "q_uniform":
            return floor(min((self.high - self.low) / self.step, 2.0**62) + 1e-9) + 1
        raise ValueError(f"parameters.{self.name}: expected 'values' for method grid, got distribution {self.kind}")

    def grid(self) -> list[Any]:
        """Return all values of a discrete distribution.

        Raises:
            ValueError: If the distribution is continuous.

        >>> Dimension("width", "q_uniform", low=8, high=30, step=8).grid()
        [8.0, 16.0, 24.0]
        """
        count = self.num_values()
        if self.values:
            return list(self.values)
        if self.kind == "int_uniform":
            return list(range(int(self.low), int(self.high) + 1))
        return [float(self.low + self.step * number) for number in range(count)]


@dataclass(frozen=True)
class Sweep:
    """Description of a search, as in a W&B sweep.

    Attributes:
        name: Name of the sweep.
        method: ``grid``, ``random`` or ``bayes``.
        metric: Name of the logged metric to optimize.
        goal: Whether lower or higher values of the metric are better.
        dimensions: Varied parameters.
        arguments: Arguments of ``mot`` before the varied ones.
        rest: Arguments of ``mot`` after the varied ones.
        prune_after: Number of validations before a bad trial may be stopped early. None: never stopped early.
        run_cap: Maximum number of trials. None: unlimited.
    """

    name: str
    method: str
    metric: str
    goal: Literal["minimize", "maximize"]
    dimensions: tuple[Dimension, ...]
    arguments: tuple[str, ...]
    rest: tuple[str, ...] = ()
    prune_after: int | None = None
    run_cap: int | None = None

    def argv(self, point: Mapping[str, Scalar]) -> list[str]:
        """Return the arguments of ``mot`` at a point, in the format of W&B's agent."""
        return [*self.arguments, *(f"--{name}={value}" for name, value in point.items()), *self.rest]

    def grid(self) -> list[dict[str, Scalar]]:
        """Return all points of a grid search."""
        columns = [dimension.grid() for dimension in self.dimensions]
        names = [dimension.name for dimension in self.dimensions]
        return [dict(zip(names, values, strict=True)) for values in product(*columns)]


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep from a YAML file, or a shipped one by name.

    Raises:
        FileNotFoundError: If no such file exists.
        ValueError: If a key is invalid or supported by W&B's server only; the message names the key.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lr.yaml"
    >>> _ = path.write_text('''
    ... command: ["${env}", mot, fit, --config, motip_synthetic, "${args}"]
    ... method: bayes
    ... metric: {name: val/HOTA, goal: maximize}
    ... parameters:
    ...   model.init_args.groups: {values: [1, 2, 4]}
    ... ''')
    >>> read_sweep(path).argv({"model.init_args.groups": 2})
    ['fit', '--config', 'motip_synthetic', '--model.init_args.groups=2']
    """
    file = find_config(str(path), "sweeps")
    try:
        return _sweep(read_yaml(file), file.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _sweep(content: Any, stem: str) -> Sweep:
    keys = _mapping(content, "a sweep", KEYS)
    method = keys.get("method")
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    metric = _mapping(keys.get("metric"), "metric", {"name", "goal"})
    goal = metric.get("goal", "minimize")  # the default of W&B
    if goal not in ("minimize", "maximize") or not isinstance(metric.get("name"), str):
        raise ValueError(f"metric: expected a name and the goal minimize or maximize, got {metric}")
    parameters = keys.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise ValueError(f"parameters: expected a mapping of parameter names to values, got {parameters!r}")
    dimensions = tuple(_dimension(str(name), value) for name, value in parameters.items())
    if method == "grid":
        points = prod(dimension.num_values() for dimension in dimensions)
        if points > MOST_POINTS:
            raise ValueError(
                f"parameters: expected a grid of at most {MOST_POINTS:,} points, got {points:,}; "
                "use method random, or fewer values"
            )
    arguments, rest = _command(keys.get("command"))
    prune_after = None
    if keys.get("early_terminate") is not None:
        early = _mapping(keys["early_terminate"], "early_terminate", {"type", "min_iter"})
        if early.get("type") != "hyperband":
            raise ValueError(f"early_terminate.type: expected hyperband, got {early.get('type')!r}")
        prune_after = _whole(early.get("min_iter"), "early_terminate.min_iter")
    cap = None if keys.get("run_cap") is None else _whole(keys["run_cap"], "run_cap")
    name = str(keys.get("name", stem))
    return Sweep(name, method, metric["name"], goal, dimensions, arguments, rest, prune_after, cap)


def _dimension(name: str, content: Any) -> Dimension:
    key = f"parameters.{name}"
    if isinstance(content, Mapping) and "parameters" in content:
        raise ValueError(
            f"{key}.parameters: expected a flat parameter, got nested ones; write dots in the name, as for mot fit"
        )
    keys = _mapping(content, key, {"value", "values", "distribution", "min", "max", "q"})
    kind = keys.get("distribution", _kind(keys))
    if kind not in DISTRIBUTIONS:
        raise ValueError(f"{key}.distribution: expected one of {', '.join(DISTRIBUTIONS)}, got {kind!r}")
    if kind in ("constant", "categorical"):
        values = [keys.get("value")] if kind == "constant" else keys.get("values")
        if not isinstance(values, list) or not values or not all(map(_is_scalar, values)):
            field = "value" if kind == "constant" else "values"
            raise ValueError(f"{key}.{field}: expected finite numbers, strings or booleans, got {keys.get(field)!r}")
        if len({(isinstance(value, bool), value) for value in values}) < len(values):
            raise ValueError(f"{key}.values: expected different values, got {values}; a repeated value repeats runs")
        return Dimension(name, kind, tuple(values))
    low: Any = keys.get("min")
    high: Any = keys.get("max")
    step: Any = keys.get("q", 1)
    numbers = (int,) if kind == "int_uniform" else (int, float)
    for field, value in (("min", low), ("max", high), ("q", step)):
        if not isinstance(value, numbers) or isinstance(value, bool) or not isfinite(value):
            hint = (
                "an integer"
                if kind == "int_uniform"
                else "a finite number (in YAML, 1e-4 is a string and 1.0e-4 a number)"
            )
            raise ValueError(f"{key}.{field}: expected {hint}, got {value!r}")
    if not low < high or not step > 0 or (kind == "log_uniform_values" and not low > 0):
        raise ValueError(
            f"{key}: expected min below max{' and above 0' * (kind == 'log_uniform_values')}, got {low} and {high}"
        )
    return Dimension(name, kind, low=float(low), high=float(high), step=float(step))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Scalar) and (not isinstance(value, float) or isfinite(value))


def _kind(keys: Mapping[str, Any]) -> str:
    """Return the default distribution of W&B."""
    if "value" in keys or "values" in keys:
        return "constant" if "value" in keys else "categorical"
    whole = isinstance(keys.get("min"), int) and isinstance(keys.get("max"), int)
    return "int_uniform" if whole else "uniform"


def _command(command: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the arguments before and after the varied ones, starting with the subcommand."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    start = [word for word in words if word not in ("${env}", "${interpreter}")]
    start = start[1:] if start[:1] == ["mot"] else []
    if start[:1] != ["fit"] or start.count("${args}") != 1 or any("${" in word for word in start if word != "${args}"):
        raise ValueError(
            f'command: expected ["${{env}}", mot, fit, --config, NAME, "${{args}}"], got '
            f"{shlex.join(words) if words else repr(command)}"
        )
    index = start.index("${args}")
    return tuple(start[:index]), tuple(start[index + 1 :])


def _mapping(content: Any, key: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError(f"{key}: expected a mapping with keys out of {', '.join(sorted(known))}, got {content!r}")
    unknown = [str(name) for name in content if name not in known]
    if unknown:
        raise ValueError(f"{key}: unknown key {', '.join(unknown)}; supported keys: {', '.join(sorted(known))}")
    return content


def _whole(value: Any, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key}: expected a positive integer, got {value!r}")
    return value
