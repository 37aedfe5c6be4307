"""`mot sweep`: sampling, resuming, pruning and results, with fake and real training runs."""

from __future__ import annotations

import csv
import json
import math
from contextlib import nullcontext

import optuna
import pytest
import yaml

from mot_core.cli import main
from mot_core.cli.fit.configs import find_config
from mot_core.cli.sweep.space import read_sweep

TINY = [
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=2",
    "--trainer.num_sanity_val_steps=0", "--trainer.check_val_every_n_epoch=1", "--data.init_args.num_videos=2",
    "--data.init_args.num_val_videos=1", "--data.init_args.num_frames=4", "--data.init_args.image_size=[48, 64]",
    "--data.init_args.clip_length=2", "--model.init_args.detector.embed_dim=32",
    "--model.init_args.detector.ffn_dim=32", "--model.init_args.detector.num_heads=4",
    "--model.init_args.id_layers=1",
]  # fmt: skip


class Fits:
    """Fake `mot fit` that reports values of a formula to the sweep and records the calls."""

    def __init__(self, formula):
        self.formula = formula
        self.calls = []

    def __call__(self, arguments):
        from mot_core.cli.sweep.trial import ReportTrial

        assert arguments[0] == "fit"
        point = dict(word.removeprefix("--").split("=", 1) for word in arguments if "=" in word)
        self.calls.append(point)
        for value in self.formula(point, len(self.calls)):
            if isinstance(value, int) and not isinstance(value, bool):
                return value  # an exit code
            if ReportTrial.running.add(value):
                break
        return 0


@pytest.fixture
def fits(monkeypatch):
    def install(formula):
        fake = Fits(formula)
        monkeypatch.setattr("mot_core.cli.main", fake)
        return fake

    return install


def lr_of(point):
    return float(point["model.init_args.optimizer.lr"])


def results(folder):
    return json.loads((folder / "trials.json").read_text())


def test_best_value_of_every_trial(mot, write_sweep, fits, tmp_path):
    fake = fits(lambda point, call: [0.1, lr_of(point), 0.05])
    done = mot("sweep", write_sweep(), "--trials", 4, "--output", tmp_path / "out", "--", "--trainer.max_epochs", "2")
    assert (done.code, done.err) == (0, "")
    rows = results(tmp_path / "out")
    assert [row["val/HOTA"] for row in rows] == [lr_of(point) for point in fake.calls]
    assert len({row["val/HOTA"] for row in rows}) == 4
    best = max(rows, key=lambda row: row["val/HOTA"])
    assert f"best: trial {best['trial']}, val/HOTA {best['val/HOTA']:.4g}" in done.out
    lr = best["model.init_args.optimizer.lr"]
    command = f"mot fit --config motip_synthetic --model.init_args.optimizer.lr={lr} --trainer.max_epochs 2"
    assert command in done.out
    assert [point["output"] for point in fake.calls] == [str(tmp_path / "out" / f"trial-{n:03d}") for n in range(4)]
    with open(tmp_path / "out" / "trials.csv") as file:
        assert [float(row["val/HOTA"]) for row in csv.DictReader(file)] == [row["val/HOTA"] for row in rows]


def test_minimized_and_overridden_metrics(mot, write_sweep, fits, tmp_path):
    fits(lambda point, call: [3.0, lr_of(point), 2.0])
    path = write_sweep(metric={"name": "val/loss", "goal": "minimize"})
    done = mot("sweep", path, "--trials", 3, "--metric", "val/error", "--output", tmp_path / "out")
    rows = results(tmp_path / "out")
    assert f"val/error {min(row['val/error'] for row in rows):.4g}" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_interrupted_search_resumes_exactly(mot, write_sweep, fits, tmp_path, method):
    def formula(point, call):
        return [math.sin(9 * lr_of(point))]

    path = write_sweep(method=method)
    whole = fits(formula)
    assert mot("sweep", path, "--trials", 14, "--output", tmp_path / "whole").code == 0
    first = fits(lambda point, call: [130] if call == 12 else formula(point, call))
    done = mot("sweep", path, "--trials", 14, "--output", tmp_path / "cut")
    assert done.code == 130
    assert f"the results so far are in {tmp_path / 'cut'}; rerun the same command to resume" in done.err
    assert len(results(tmp_path / "cut")) == 11
    second = fits(formula)
    assert mot("sweep", path, "--trials", 14, "--output", tmp_path / "cut").code == 0
    assert [lr_of(p) for p in first.calls[:11] + second.calls] == [lr_of(point) for point in whole.calls]
    assert len(results(tmp_path / "cut")) == 14
    third = fits(formula)
    assert mot("sweep", path, "--trials", 14, "--output", tmp_path / "cut").code == 0
    assert third.calls == []


def test_files_of_killed_trials_are_removed(mot, write_sweep, fits, tmp_path):
    fits(lambda point, call: [0.1])
    stale = tmp_path / "out/trial-000/version_0/checkpoints/.last.ckpt.0123abcd.tmp"
    stale.parent.mkdir(parents=True)
    stale.touch()
    assert mot("sweep", write_sweep(), "--trials", 1, "--output", tmp_path / "out").code == 0
    assert not stale.exists()


def test_seeds_select_the_points(mot, write_sweep, fits, tmp_path):
    fake = fits(lambda point, call: [lr_of(point)])
    for seed in (0, 0, 100):
        mot("sweep", write_sweep(), "--trials", 2, "--seed", seed, "--output", tmp_path / f"out{len(fake.calls)}")
    values = [lr_of(point) for point in fake.calls]
    assert values[:2] == values[2:4]
    assert not set(values[:2]) & set(values[4:])


def test_grid_ends_after_all_points(mot, write_sweep, fits, tmp_path):
    fake = fits(lambda point, call: [float(point["b"])])
    path = write_sweep(
        method="grid", parameters={"a": {"values": ["x", "y"]}, "b": {"min": 1, "max": 3}, "c": {"value": 5}}
    )
    assert mot("sweep", path, "--trials", 2, "--output", tmp_path / "out").code == 0
    assert mot("sweep", path, "--output", tmp_path / "out").code == 0
    assert mot("sweep", path, "--trials", 50, "--output", tmp_path / "out").code == 0
    assert sorted((point["a"], point["b"]) for point in fake.calls) == [(a, b) for a in "xy" for b in "123"]
    assert {point["c"] for point in fake.calls} == {"5"}


def test_interrupted_grid_skips_no_point(mot, write_sweep, fits, tmp_path):
    first = fits(lambda point, call: [130] if call == 3 else [float(point["b"])])
    path = write_sweep(method="grid", parameters={"a": {"values": ["x", "y"]}, "b": {"min": 1, "max": 3}})
    assert mot("sweep", path, "--output", tmp_path / "out").code == 130
    second = fits(lambda point, call: [float(point["b"])])
    assert mot("sweep", path, "--output", tmp_path / "out").code == 0
    tried = [(point["a"], point["b"]) for point in first.calls[:2] + second.calls]
    assert tried == [(a, b) for a in "xy" for b in "123"]


@pytest.mark.slow
def test_bayes_concentrates_on_good_values(mot, write_sweep, fits, tmp_path):
    fake = fits(lambda point, call: [-abs(lr_of(point) - 0.3)])
    assert mot("sweep", write_sweep(method="bayes"), "--trials", 30, "--output", tmp_path / "out").code == 0
    distance = [abs(lr_of(point) - 0.3) for point in fake.calls]
    assert sum(distance[-10:]) < 0.5 * sum(distance[:10])


def test_early_termination(mot, write_sweep, fits, tmp_path):
    def formula(point, call):
        return [0.9, 0.9, 0.9, 0.9] if call <= 4 else [0.1, 0.1, 0.1, 0.1]

    path = write_sweep(early_terminate={"type": "hyperband", "min_iter": 2})
    fits(formula)
    done = mot("sweep", path, "--trials", 6, "--output", tmp_path / "out")
    rows = results(tmp_path / "out")
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["stopped early"] * 2
    assert [row["val/HOTA"] for row in rows[4:]] == [0.1, 0.1]
    assert "stopped early" in done.out
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'out' / 'study.db'}")
    assert len(study.trials[5].intermediate_values) == 3  # two validations before pruning starts
    fits(formula)
    assert mot("sweep", write_sweep(), "--trials", 6, "--output", tmp_path / "all").code == 0
    assert {row["state"] for row in results(tmp_path / "all")} == {"complete"}


def test_only_a_failure_of_the_first_trial_stops_the_search(mot, write_sweep, fits, tmp_path):
    fits(lambda point, call: [1] if call == 2 else [lr_of(point)])
    done = mot("sweep", write_sweep(), "--trials", 3, "--output", tmp_path / "out")
    assert done.code == 0
    assert [row["state"] for row in results(tmp_path / "out")] == ["complete", "failed", "complete"]
    fits(lambda point, call: [2])
    done = mot("sweep", write_sweep(), "--trials", 3, "--output", tmp_path / "bad")
    assert done.code == 1
    assert "trial 0 failed: mot fit --config motip_synthetic" in done.err
    fits(lambda point, call: [])
    done = mot("sweep", write_sweep(), "--trials", 3, "--output", tmp_path / "none")
    assert "trial 0: expected a value of val/HOTA, got none" in done.err


def test_nan_is_ignored(mot, write_sweep, fits, tmp_path):
    fits(lambda point, call: [float("nan"), 0.5] if call == 1 else [float("nan")])
    assert mot("sweep", write_sweep(), "--trials", 2, "--output", tmp_path / "out").code == 0
    assert [row["val/HOTA"] for row in results(tmp_path / "out")] == [0.5, None]


def test_study_of_a_different_search_is_rejected(mot, write_sweep, fits, tmp_path):
    fits(lambda point, call: [lr_of(point)])
    storage = f"sqlite:///{tmp_path / 'mine.db'}"
    assert mot("sweep", write_sweep(), "--trials", 1, "--storage", storage, "--output", tmp_path / "out").code == 0
    assert not (tmp_path / "out" / "study.db").exists()
    changed = write_sweep(parameters={"model.init_args.groups": {"values": [1, 2]}})
    done = mot("sweep", changed, "--trials", 2, "--storage", storage, "--output", tmp_path / "out")
    assert done.code == 1
    assert "expected the same search, got different dimensions; choose another --output" in done.err
    done = mot(
        "sweep", write_sweep(), "--trials", 2, "--storage", storage, "--output", tmp_path / "out", "--", "--seed=3"
    )
    assert "got different more;" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--trials: expected at least 1, got None; "),
        (["--trials", "0"], 2, "--trials: expected at least 1, got 0"),
        (
            ["--trials", "2", "--storage", "nodb://x"],
            1,
            "--storage: expected a file or the URL of a database, got nodb://x, which cannot be opened",
        ),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(mot, write_sweep, tmp_path, arguments, code, words):
    done = mot("sweep", write_sweep(), "--output", tmp_path / "out", *arguments)
    assert done.code == code
    assert words in done.err
    assert done.err.count("\n") == 1


def test_missing_optuna_error_names_the_command(mot, write_sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    done = mot("sweep", write_sweep(), "--trials", 1, "--output", tmp_path / "out")
    assert done.code == 1
    assert "mot sweep needs optuna: pip install" in done.err


# Real training runs.


def test_arguments_of_the_wandb_agent(tmp_path, monkeypatch):
    """W&B's agent replaces ${args} by `--name=value` for every parameter."""
    path = "motip_synthetic"
    content = yaml.safe_load(find_config(path, "sweeps").read_text())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trial = study.ask()
    point = {dimension.name: dimension.suggest(trial) for dimension in read_sweep(path).dimensions}
    flags = [f"--{name}={value}" for name, value in point.items()]
    words = [one for word in content["command"] for one in (flags if word == "${args}" else [word])]
    assert words[:3] == ["${env}", "mot", "fit"]
    # W&B is not installed here, so its logger is removed.
    assert main([*words[2:], "--trainer.logger=null", f"--output={tmp_path}", *TINY]) == 0
    config = yaml.safe_load((tmp_path / "version_0" / "config.yaml").read_text())
    for name, value in point.items():
        at = config
        for part in name.split("."):
            at = at[part]
        assert at == pytest.approx(value)


def test_two_trials_of_the_shipped_sweep(mot, tmp_path):
    done = mot("sweep", "motip_synthetic", "--trials", 2, "--output", tmp_path / "out", "--", *TINY)
    assert done.code == 0, done.err
    rows = results(tmp_path / "out")
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert all(0 <= row["val/HOTA"] <= 1 for row in rows)
    for number in (0, 1):
        with open(tmp_path / "out" / f"trial-{number:03d}" / "version_0" / "metrics.csv") as file:
            logged = [float(row["val/HOTA"]) for row in csv.DictReader(file) if row["val/HOTA"]]
        assert rows[number]["val/HOTA"] == pytest.approx(max(logged))


def test_unknown_metric_lists_the_logged_ones(mot, tmp_path):
    arguments = ["--trials", 1, "--metric", "val/hota", "--output", tmp_path / "out", "--", *TINY]
    done = mot("sweep", "motip_synthetic", *arguments)
    assert done.code == 1
    assert "metric.name: expected a logged metric, got val/hota; logged are: " in done.err
    assert "val/HOTA" in done.err


@pytest.mark.parametrize("listening", [True, False])
def test_pruned_training_stops_after_validation(tmp_path, listening):
    class PruningTrial:
        def report(self, value, step):
            pass

        def should_prune(self):
            return True

    from mot_core.cli.sweep.trial import Report

    report = Report(PruningTrial(), "val/HOTA", maximize=True)
    arguments = [*TINY, "--trainer.max_epochs=3", "--trainer.callbacks+=mot_core.cli.sweep.trial.ReportTrial"]
    with report.listening() if listening else nullcontext():
        assert main(["fit", "--config", "motip_synthetic", f"--output={tmp_path}", *arguments]) == 0
    with open(tmp_path / "version_0" / "metrics.csv") as file:
        validations = sum(bool(row["val/HOTA"]) for row in csv.DictReader(file))
    assert (validations, len(report.values)) == ((1, 1) if listening else (3, 0))
    assert report.pruned is listening
