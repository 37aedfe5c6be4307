"""What a sweep searches, out of the YAML file of a W&B sweep."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import floor
from pathlib import Path
from typing import Any, Literal

from mot_core.cli.fit.configs import find_config

Scalar = bool | int | float | str
METHODS = ("grid", "random", "bayes")
DISTRIBUTIONS = ("constant", "categorical", "uniform", "int_uniform", "q_uniform", "log_uniform_values")
# Read, or only of interest to W&B's server.
KEYS = {"method", "metric", "parameters", "command", "early_terminate", "run_cap", "name", "description", "program"}
KEYS |= {"project", "entity"}


@dataclass(frozen=True)
class Dimension:
    """One parameter of a search.

    Attributes:
        name: the flag of ``mot fit``, without dashes.
        kind: name of the distribution, as W&B calls it.
        values: all values of a ``constant`` or ``categorical``.
        low: smallest value of the others.
        high: largest value of the others.
        step: of ``q_uniform``.
    """

    name: str
    kind: str
    values: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 1.0

    def suggest(self, trial: Any) -> Scalar:
        """A value, chosen by the sampler of an Optuna trial."""
        if self.kind == "constant":
            return self.values[0]
        if self.kind == "categorical":
            chosen: Scalar = trial.suggest_categorical(self.name, list(self.values))
            return chosen
        if self.kind == "int_uniform":
            return int(trial.suggest_int(self.name, int(self.low), int(self.high)))
        if self.kind == "q_uniform":
            return float(trial.suggest_float(self.name, self.low, self.grid()[-1], step=self.step))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.kind == "log_uniform_values"))

    def grid(self) -> list[Any]:
        """All its values, where these are countable.

        Raises:
            ValueError: they are not.

        >>> Dimension("width", "q_uniform", low=8, high=30, step=8).grid()
        [8.0, 16.0, 24.0]
        """
        if self.values:
            return list(self.values)
        if self.kind == "int_uniform":
            return list(range(int(self.low), int(self.high) + 1))
        if self.kind == "q_uniform":
            count = floor((self.high - self.low) / self.step + 1e-9)
            return [float(self.low + self.step * number) for number in range(count + 1)]
        raise ValueError(f"parameters.{self.name}: method grid needs 'values', got distribution {self.kind}")


@dataclass(frozen=True)
class Sweep:
    """A search as W&B describes it.

    Attributes:
        name: of the sweep.
        method: ``grid``, ``random`` or ``bayes``.
        metric: what is logged and compared.
        goal: whether more of it is better.
        dimensions: what is varied.
        arguments: of ``mot``, in front of those that are varied.
        rest: of ``mot``, behind them.
        prune_after: validations before a bad trial may be ended early; None: all trials run to their end.
        run_cap: number of trials; None: not limited.
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
        """Arguments of ``mot`` at a point, in the words in which W&B's agent gives them."""
        return [*self.arguments, *(f"--{name}={value}" for name, value in point.items()), *self.rest]

    def grid(self) -> list[dict[str, Scalar]]:
        """All points."""
        columns = [dimension.grid() for dimension in self.dimensions]
        names = [dimension.name for dimension in self.dimensions]
        return [dict(zip(names, values, strict=True)) for values in product(*columns)]


def read_sweep(path: str | Path) -> Sweep:
    """Read a sweep from a YAML file, or a shipped one by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: something in it is wrong, or is done by W&B's server only; the key is named.

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
    import yaml

    file = find_config(str(path), "sweeps")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        return _sweep(content, file.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _sweep(content: Any, stem: str) -> Sweep:
    keys = _mapping(content, "a sweep", KEYS)
    method = keys.get("method")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    metric = _mapping(keys.get("metric"), "metric", {"name", "goal"})
    goal = metric.get("goal", "minimize")  # as W&B has it
    if goal not in ("minimize", "maximize") or not isinstance(metric.get("name"), str):
        raise ValueError(f"metric must have a name and the goal minimize or maximize, got {metric}")
    parameters = keys.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise ValueError(f"parameters must name what is varied, got {parameters!r}")
    dimensions = tuple(_dimension(str(name), value) for name, value in parameters.items())
    if method == "grid":
        for dimension in dimensions:
            dimension.grid()
    arguments, rest = _command(keys.get("command"))
    prune_after = None
    if keys.get("early_terminate") is not None:
        early = _mapping(keys["early_terminate"], "early_terminate", {"type", "min_iter"})
        if early.get("type") != "hyperband":
            raise ValueError(f"early_terminate.type must be hyperband, got {early.get('type')!r}")
        prune_after = _whole(early.get("min_iter"), "early_terminate.min_iter")
    cap = None if keys.get("run_cap") is None else _whole(keys["run_cap"], "run_cap")
    name = str(keys.get("name", stem))
    return Sweep(name, method, metric["name"], goal, dimensions, arguments, rest, prune_after, cap)


def _dimension(name: str, content: Any) -> Dimension:
    what = f"parameters.{name}"
    if isinstance(content, Mapping) and "parameters" in content:
        raise ValueError(f"{what}.parameters: nested parameters are no flags of mot fit; write dots in the name")
    keys = _mapping(content, what, {"value", "values", "distribution", "min", "max", "q"})
    kind = keys.get("distribution", _kind(keys))
    if kind not in DISTRIBUTIONS:
        raise ValueError(f"{what}.distribution must be one of {', '.join(DISTRIBUTIONS)}, got {kind!r}")
    if kind in ("constant", "categorical"):
        values = [keys.get("value")] if kind == "constant" else keys.get("values")
        if not isinstance(values, list) or not values or not all(isinstance(one, Scalar) for one in values):
            key = "value" if kind == "constant" else "values"
            raise ValueError(f"{what}.{key} must be numbers, words or booleans, got {keys.get(key)!r}")
        return Dimension(name, kind, tuple(values))
    low: Any = keys.get("min")
    high: Any = keys.get("max")
    step: Any = keys.get("q", 1)
    numbers = (int,) if kind == "int_uniform" else (int, float)
    for key, value in (("min", low), ("max", high), ("q", step)):
        if not isinstance(value, numbers) or isinstance(value, bool):
            wanted = "a whole number" if kind == "int_uniform" else "a number (1e-4 is a text in YAML, 1.0e-4 a number)"
            raise ValueError(f"{what}.{key} must be {wanted}, got {value!r}")
    if not low < high or not step > 0 or (kind == "log_uniform_values" and not low > 0):
        raise ValueError(
            f"{what}: min must be below max{' and above 0' * (kind == 'log_uniform_values')}, got {low} and {high}"
        )
    return Dimension(name, kind, low=float(low), high=float(high), step=float(step))


def _kind(keys: Mapping[str, Any]) -> str:
    """The distribution that W&B takes where none is named."""
    if "value" in keys or "values" in keys:
        return "constant" if "value" in keys else "categorical"
    whole = isinstance(keys.get("min"), int) and isinstance(keys.get("max"), int)
    return "int_uniform" if whole else "uniform"


def _command(command: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands before and behind the varied arguments, from the name of the subcommand on."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    start = [word for word in words if word not in ("${env}", "${interpreter}")]
    start = start[1:] if start[:1] == ["mot"] else []
    if start[:1] != ["fit"] or start.count("${args}") != 1 or any("${" in word for word in start if word != "${args}"):
        raise ValueError(
            f'command must be like ["${{env}}", mot, fit, --config, NAME, "${{args}}"], got '
            f"{shlex.join(words) if words else repr(command)}"
        )
    place = start.index("${args}")
    return tuple(start[:place]), tuple(start[place + 1 :])


def _mapping(content: Any, what: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError(f"{what} must be a mapping with some of {', '.join(sorted(known))}, got {content!r}")
    unknown = [str(key) for key in content if key not in known]
    if unknown:
        raise ValueError(
            f"{what}: the key {', '.join(unknown)} is not known here; it may have {', '.join(sorted(known))}"
        )
    return content


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what} must be a whole number from 1 on, got {value!r}")
    return value
