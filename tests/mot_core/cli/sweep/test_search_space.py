"""W&B sweep files: distributions, grids and invalid keys."""

from __future__ import annotations

import math

import optuna
import pytest

from mot_core.cli.sweep.space import read_sweep


def draw(path, count=200):
    (dimension,) = read_sweep(path).dimensions
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [dimension.suggest(study.ask()) for _ in range(count)]


def test_distributions(write_sweep):
    def choices(spec):
        return draw(write_sweep(parameters={"x": spec}))

    assert set(choices({"value": "adam"})) == {"adam"}
    assert set(choices({"values": [1, 2.5, "three", True]})) == {1, 2.5, "three"}
    uniform = choices({"min": 2, "max": 4.0})
    assert 2 <= min(uniform) < 2.1 < 3.9 < max(uniform) <= 4
    whole = choices({"min": 2, "max": 5})
    assert set(whole) == {2, 3, 4, 5}
    assert all(isinstance(value, int) for value in whole)
    assert set(choices({"distribution": "q_uniform", "min": 0, "max": 1.1, "q": 0.5})) == {0.0, 0.5, 1.0}
    logs = [math.log10(value) for value in choices({"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1})]
    assert [sum(n <= value < n + 1 for value in logs) for n in (-5, -4, -3, -2)] == pytest.approx([50] * 4, abs=20)


def test_grid_contains_every_combination(write_sweep):
    path = write_sweep(
        method="grid",
        parameters={
            "a": {"values": ["x", "y"]},
            "b": {"min": 1, "max": 2},
            "c": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.5},
            "d": {"value": 7},
        },
    )
    points = read_sweep(path).grid()
    assert len({tuple(point.values()) for point in points}) == 12
    assert points[-1] == {"a": "y", "b": 2, "c": 1.0, "d": 7}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "genetic"}, "method: expected one of grid, random, bayes, got 'genetic'"),
        ({"metric": None}, "metric: expected a mapping"),
        ({"metric": {"name": "val/HOTA", "goal": "up"}}, "the goal minimize or maximize"),
        ({"metric": {"name": "val/HOTA", "target": 3}}, "metric: unknown key target"),
        ({"launch": {}}, "a sweep: unknown key launch; supported keys: command, "),
        ({"parameters": {}}, "parameters: expected a mapping of parameter names"),
        ({"parameters": {"x": 3}}, r"parameters\.x: expected a mapping"),
        (
            {"parameters": {"x": {"parameters": {"y": {"value": 1}}}}},
            r"parameters\.x\.parameters: expected a flat parameter",
        ),
        ({"parameters": {"x": {"distribution": "normal", "mu": 0}}}, r"parameters\.x: unknown key mu"),
        ({"parameters": {"x": {"distribution": "beta"}}}, r"parameters\.x\.distribution: expected one of constant, "),
        ({"parameters": {"x": {"values": [1, 2], "probabilities": [1, 0]}}}, "unknown key probabilities"),
        ({"parameters": {"x": {"values": []}}}, r"parameters\.x\.values: expected finite numbers"),
        ({"parameters": {"x": {"values": [2, 1, 2.0]}}}, r"parameters\.x\.values: expected different values, got"),
        ({"parameters": {"x": {"values": [None]}}}, r"parameters\.x\.values: expected finite numbers"),
        ({"parameters": {"x": {"values": [1, math.inf]}}}, r"parameters\.x\.values: expected finite numbers"),
        ({"parameters": {"x": {"min": 0.0, "max": math.inf}}}, r"parameters\.x\.max: expected a finite number"),
        (
            {"method": "grid", "parameters": {"x": {"min": 1, "max": 10**9}, "y": {"min": 1, "max": 10**9}}},
            r"parameters: expected a grid of at most 100,000 points, got 1,000,000,000,000,000,000; use method random",
        ),
        (
            {
                "method": "grid",
                "parameters": {"x": {"distribution": "q_uniform", "min": 0.0, "max": 1e9, "q": 1e-300}},
            },
            r"parameters: expected a grid of at most 100,000 points",
        ),
        ({"parameters": {"x": {"min": 1}}}, r"parameters\.x\.max: expected a finite number"),
        (
            {"parameters": {"x": {"min": "1e-4", "max": 1}}},
            r"parameters\.x\.min: expected a finite number \(in YAML, 1e-4 is a string",
        ),
        ({"parameters": {"x": {"min": 4, "max": 2}}}, r"parameters\.x: expected min below max, got 4 and 2"),
        (
            {"parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 1}}},
            "below max and above 0, got 0 and 1",
        ),
        (
            {"method": "grid"},
            r"parameters\.model\.init_args\.optimizer\.lr: expected 'values' for method grid, got .*uniform",
        ),
        ({"command": ["python", "train.py", "${args}"]}, "command: expected .*got python train.py"),
        ({"command": ["mot", "fit"]}, "command: expected"),
        ({"command": ["mot", "fit", "${args_json}", "${args}"]}, "command: expected"),
        ({"early_terminate": {"type": "hyperband", "eta": 3, "min_iter": 2}}, "early_terminate: unknown key eta"),
        ({"early_terminate": {"type": "hyperband"}}, r"early_terminate\.min_iter: expected a positive integer"),
        ({"run_cap": 0}, "run_cap: expected a positive integer, got 0"),
    ],
)
def test_invalid_keys_are_reported_with_the_file(write_sweep, changes, words):
    path = write_sweep(**changes)
    with pytest.raises(ValueError, match=words) as caught:
        read_sweep(path)
    assert str(path) in str(caught.value)


def test_missing_and_invalid_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a YAML file or the name of a shipped one"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match=r"bad\.yaml:1: expected YAML"):
        read_sweep(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ValueError, match="expected a mapping"):
        read_sweep(tmp_path / "list.yaml")
