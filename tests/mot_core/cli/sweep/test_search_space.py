"""What a W&B sweep file means: distributions, grids, and what is refused."""

from __future__ import annotations

import math

import optuna
import pytest

from mot_core.cli.sweep.space import read_sweep


def draw(path, count=200):
    (dimension,) = read_sweep(path).dimensions
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [dimension.suggest(study.ask()) for _ in range(count)]


def test_values_are_those_of_the_distribution(write_sweep):
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


def test_a_grid_has_every_combination(write_sweep):
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
        ({"method": "genetic"}, "method must be one of grid, random, bayes, got 'genetic'"),
        ({"metric": None}, "metric must be a mapping"),
        ({"metric": {"name": "val/HOTA", "goal": "up"}}, "the goal minimize or maximize"),
        ({"metric": {"name": "val/HOTA", "target": 3}}, "metric: the key target is not known here"),
        ({"launch": {}}, "a sweep: the key launch is not known here; it may have command, "),
        ({"parameters": {}}, "parameters must name what is varied"),
        ({"parameters": {"x": 3}}, r"parameters\.x must be a mapping"),
        ({"parameters": {"x": {"parameters": {"y": {"value": 1}}}}}, r"parameters\.x\.parameters: nested"),
        ({"parameters": {"x": {"distribution": "normal", "mu": 0}}}, r"parameters\.x: the key mu is not known"),
        ({"parameters": {"x": {"distribution": "beta"}}}, r"parameters\.x\.distribution must be one of constant, "),
        ({"parameters": {"x": {"values": [1, 2], "probabilities": [1, 0]}}}, "the key probabilities is not known"),
        ({"parameters": {"x": {"values": []}}}, r"parameters\.x\.values must be numbers"),
        ({"parameters": {"x": {"values": [None]}}}, r"parameters\.x\.values must be numbers"),
        ({"parameters": {"x": {"min": 1}}}, r"parameters\.x\.max must be a number"),
        ({"parameters": {"x": {"min": "1e-4", "max": 1}}}, r"parameters\.x\.min must be a number \(1e-4 is a text"),
        ({"parameters": {"x": {"min": 4, "max": 2}}}, r"parameters\.x: min must be below max, got 4 and 2"),
        (
            {"parameters": {"x": {"distribution": "log_uniform_values", "min": 0, "max": 1}}},
            "below max and above 0, got 0 and 1",
        ),
        ({"method": "grid"}, r"parameters\.model\.init_args\.optimizer\.lr: method grid needs 'values', got .*uniform"),
        ({"command": ["python", "train.py", "${args}"]}, "command must be like .*got python train.py"),
        ({"command": ["mot", "fit"]}, "command must be like"),
        ({"command": ["mot", "fit", "${args_json}", "${args}"]}, "command must be like"),
        ({"early_terminate": {"type": "hyperband", "eta": 3, "min_iter": 2}}, "early_terminate: the key eta"),
        ({"early_terminate": {"type": "hyperband"}}, r"early_terminate\.min_iter must be a whole number from 1 on"),
        ({"run_cap": 0}, "run_cap must be a whole number from 1 on, got 0"),
    ],
)
def test_what_is_not_understood_is_named(write_sweep, changes, words):
    path = write_sweep(**changes)
    with pytest.raises(ValueError, match=words) as caught:
        read_sweep(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no sweep"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match=r"bad\.yaml is not YAML"):
        read_sweep(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ValueError, match="must hold settings"):
        read_sweep(tmp_path / "list.yaml")
