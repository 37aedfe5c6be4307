"""Several `mot sweep` processes on one study: no duplicate trials, and the trials of dead workers are run again."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import optuna
import pytest

from mot_core.cli.sweep import workers
from mot_core.cli.sweep.workers import INTERRUPTED, WORKER, Worker, finished, open_storage


@pytest.fixture
def open_worker(tmp_path):
    """Open the study in the file again, as another process would."""

    def build(name, total=8):
        storage = open_storage(str(tmp_path / "study.log"))
        study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
        worker = Worker(study, str(tmp_path / "study.log.claim"), total)
        worker.name = name
        return worker

    return build


def sampler(point):
    return optuna.samplers.RandomSampler(seed=point)


def run(worker, trial):
    value = trial.suggest_float("x", 0, 1)
    worker.study.tell(trial, value)
    return value


def test_workers_draw_the_points_of_a_single_one(open_worker):
    trials = [(worker, worker.claim(sampler, [])) for worker in map(open_worker, [f"node{n}:1" for n in range(8)])]
    assert open_worker("late:1").claim(sampler, []) is None
    drawn = [run(worker, trial) for worker, trial in reversed(trials)][::-1]  # in any order
    alone = optuna.create_study()
    expected = []
    for point in range(8):
        alone.sampler = sampler(point)
        expected.append(alone.ask().suggest_float("x", 0, 1))
    assert drawn == expected
    assert len(set(drawn)) == 8


def test_grid_is_shared(open_worker):
    points = [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}]
    shared = [open_worker(f"node{n}:1", 3) for n in range(3)]
    claimed = [(worker, worker.claim(sampler, points)) for worker in shared]
    assert open_worker("late:1", 3).claim(sampler, points) is None
    assert [run(worker, trial) for worker, trial in claimed] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("suggested", [True, False])
def test_trial_of_a_silent_worker_is_run_again(open_worker, monkeypatch, suggested):
    dead, live = open_worker("other:1", 2), open_worker("elsewhere:2", 2)
    lost = dead.claim(sampler, [])
    if suggested:  # otherwise killed before
        lost.suggest_float("x", 0, 1)
    run(live, live.claim(sampler, []))
    assert live.claim(sampler, []) is None
    assert live.others()
    monkeypatch.setattr(workers, "DEAD_AFTER", -1.0)
    retry = live.claim(sampler, [])
    run(live, retry)
    assert live.claim(sampler, []) is None
    assert not live.others()
    assert len(finished(live.study)) == 2
    alone = optuna.create_study(sampler=sampler(0))
    assert live.study.trials[retry.number].params == {"x": alone.ask().suggest_float("x", 0, 1)}


def test_heartbeat_keeps_a_trial(open_worker, monkeypatch):
    monkeypatch.setattr(workers, "HEARTBEAT", 0.01)
    busy, other = open_worker("other:1"), open_worker("elsewhere:2")
    trial = busy.claim(sampler, [])
    assert other.others()
    before = other._seen[trial.number]
    with busy.heartbeat(trial):
        time.sleep(0.3)
    assert other.others()
    assert other._seen[trial.number][0] > 0
    assert other._seen[trial.number][1] > before[1]  # the time without a sign of life starts again


def test_trial_without_worker_was_abandoned_in_its_claim(open_worker):
    worker = open_worker("other:1", 2)
    worker.study.ask()
    retry = worker.claim(sampler, [])
    assert retry.user_attrs["retry_of"] == 0
    assert worker.study.trials[0].user_attrs == {INTERRUPTED: True}
    assert retry.user_attrs[WORKER] == "other:1"


SCRIPT = """
    import os, sys, time
    from pathlib import Path
    import mot_core.cli as cli
    from mot_core.cli.sweep.trial import ReportTrial

    mot, runs = cli.main, []

    def main(arguments):
        if arguments[0] != "fit":
            return mot(arguments)
        runs.append(arguments)
        (lr,) = [float(word.partition("=")[2]) for word in arguments if "optimizer.lr" in word]
        if os.environ["HANG"] == str(len(runs)):
            Path("hangs").write_text(str(lr))
            time.sleep(600)
        time.sleep(0.2)
        ReportTrial.running.add(lr)
        return 0

    cli.main = main
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed(write_sweep, tmp_path):
    arguments = ["sweep", str(write_sweep()), "--trials", "8", "--storage", "study.log", "--output", "out"]
    (tmp_path / "worker.py").write_text(textwrap.dedent(SCRIPT))

    def start(hang):
        environment = {**os.environ, "HANG": hang}
        return subprocess.Popen([sys.executable, "worker.py", *arguments], cwd=tmp_path, env=environment)

    killed, other = start("2"), start("never")
    while not (tmp_path / "hangs").is_file():
        assert killed.poll() is None
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert other.wait(timeout=300) == 0
    rows = json.loads((tmp_path / "out" / "trials.json").read_text())
    values = [row["val/HOTA"] for row in rows]
    assert [row["state"] for row in rows] == ["complete"] * 8
    assert len(set(values)) == 8
    assert float((tmp_path / "hangs").read_text()) in values  # run again by the other worker
