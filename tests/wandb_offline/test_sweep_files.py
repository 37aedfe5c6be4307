"""Shipped sweep files, validated and stepped by `sweeps`, the package from which W&B's server draws its runs."""

import os
from itertools import product

import pytest
import yaml

if os.environ.get("MOT_WANDB") != "1":
    pytest.skip("run by `nox -s tests_wandb`, which installs sweeps", allow_module_level=True)

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # sweeps 0.2.0 is written for pydantic 1
    from sweeps import RunState, next_run, schema_violations_from_proposed_config

from mot_core.cli.fit.configs import shipped_configs
from mot_core.cli.sweep.space import read_sweep

FILES = shipped_configs("sweeps")
pytestmark = pytest.mark.filterwarnings("ignore")  # of sweeps


def finished(run, sweep, value):
    run.state = RunState.finished
    run.summary_metrics = {sweep["metric"]["name"]: value}
    return run


def point(run):
    return {name: chosen["value"] for name, chosen in run.config.items()}


@pytest.mark.parametrize("name", FILES)
def test_runs_drawn_by_wandb(name):
    """Every drawn value is in the file, and our reader finds the same grid."""
    sweep = yaml.safe_load(FILES[name].read_text())
    assert schema_violations_from_proposed_config(sweep) == []
    ours = read_sweep(name)
    runs, drawn = [], []
    for number in range(40 if sweep["method"] == "grid" else 6):
        run = next_run(sweep, runs, validate=True)
        if run is None:
            break
        drawn.append(point(run))
        runs.append(finished(run, sweep, 0.1 * number))
    if sweep["method"] == "grid":
        key = lambda one: sorted(one.items())  # noqa: E731
        assert sorted(map(key, drawn)) == sorted(map(key, ours.grid()))
        return
    assert len(drawn) == 6
    for one, dimension in product(drawn, ours.dimensions):
        value = one[dimension.name]
        if dimension.values:
            assert value in dimension.values
        else:
            assert dimension.low <= value <= dimension.high
