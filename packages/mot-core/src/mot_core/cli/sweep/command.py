"""``mot sweep``: local hyperparameter search with Optuna, from a W&B sweep file and without a W&B account."""

from __future__ import annotations

import argparse
import csv
import io
import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_core.cli.sweep.space import Sweep, read_sweep
from mot_core.cli.sweep.workers import INTERRUPTED, Worker, finished, open_storage
from mot_core.cli.terminal import open_console, print_table
from mot_core.extras import needs
from mot_core.io import open_atomic
from mot_core.io.atomic import remove_stale

if TYPE_CHECKING:
    import optuna

EPILOG = """\
examples:
  mot sweep motip_synthetic --trials 20 --output runs/sweep
  mot sweep sweep.yaml --trials 20 --output runs/sweep -- --trainer.max_epochs 2

Each trial is a `mot fit` in its own folder. Rerun the same command to resume; --trials includes the finished trials.
To use several processes or machines, add --storage FILE and run the same command in each.
Arguments after -- are passed to every `mot fit`.
"""
POLL = 2.0  # seconds between looks at the trials of other workers


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments, and remove those after ``--``, which are for ``mot fit``, from ``arguments``."""
    parser.epilog = EPILOG
    parser.add_argument(
        "sweep", metavar="SWEEP", type=Path, help="YAML file of a W&B sweep of mot fit, or name of a shipped one"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder for trials and results")
    parser.add_argument(
        "--trials",
        metavar="N",
        type=int,
        help="total number of trials (default: run_cap of the file; for a grid, all points)",
    )
    parser.add_argument(
        "--storage",
        metavar="FILE|URL",
        help="study, created if missing: a file that several `mot sweep` processes may share, or the URL of a database "
        "(default: sqlite:///DIR/study.db)",
    )
    parser.add_argument("--metric", metavar="NAME", help="metric to optimize instead of that of the file")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the sampler (default: 0)")
    parser.usage = "mot sweep SWEEP --output DIR [options] [-- arguments of mot fit]"
    more: list[str] = []
    if "--" in arguments:  # argparse would reject these arguments
        index = arguments.index("--")
        more = arguments[index + 1 :]
        del arguments[index:]
    parser.set_defaults(run=run, fit=more, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Run the missing trials and print a table of all trials."""
    sweep = read_sweep(arguments.sweep)
    if arguments.metric:
        sweep = Sweep(**{**vars(sweep), "metric": arguments.metric})
    total = sweep.run_cap if arguments.trials is None else arguments.trials
    if total is None and sweep.method == "grid":
        total = len(sweep.grid())
    if total is None or total < 1:
        arguments.usage_error(
            f"--trials: expected at least 1, got {arguments.trials}; {arguments.sweep} has no run_cap"
        )
    assert total is not None
    optuna = _optuna()
    arguments.output.mkdir(parents=True, exist_ok=True)
    storage = arguments.storage or f"sqlite:///{arguments.output / 'study.db'}"
    study = open_study(sweep, storage, arguments.fit)
    points = sweep.grid() if sweep.method == "grid" else []
    constant = {one.name for one in sweep.dimensions if one.kind == "constant"}
    points = [{name: value for name, value in point.items() if name not in constant} for point in points]
    total = min(total, len(points) or total)
    lock = str(arguments.output / "study.db") if "://" in storage else storage
    worker = Worker(study, f"{lock}.claim", total)

    def sampler(point: int) -> Any:
        # A new one for every trial: a resumed search draws the same values as an uninterrupted one, and workers differ.
        kind = optuna.samplers.TPESampler if sweep.method == "bayes" else optuna.samplers.RandomSampler
        return kind(seed=arguments.seed + point)

    if not worker.others():
        remove_stale(arguments.output, "trial-*/**/.*.tmp")
    first = True
    while len(finished(study)) < total:
        trial = worker.claim(sampler, points)
        if trial is None:
            time.sleep(POLL)  # others are running the last trials; if they die, this worker continues
            continue
        with worker.heartbeat(trial):
            _finish(study, trial, sweep, arguments, strict=first)  # if the first trial fails, so will the others
        write_results(study, sweep, arguments.output)
        first = False
    _report(study, sweep, arguments)
    return 0


class TrialFailed(ValueError):
    """Raised if the training of a trial failed; `mot fit` has already printed the error."""


def open_study(sweep: Sweep, storage: str, more: list[str]) -> optuna.Study:
    """Open the study of a sweep in a database, or create it.

    Raises:
        ValueError: If the study belongs to a different search, or the database cannot be opened.
    """
    optuna = _optuna()
    pruner = (
        optuna.pruners.NopPruner()
        if sweep.prune_after is None
        else optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=sweep.prune_after)
    )
    try:
        study = optuna.create_study(
            study_name=sweep.name,
            storage=open_storage(storage),
            load_if_exists=True,
            direction=sweep.goal,
            pruner=pruner,
        )
    except Exception as error:  # drivers raise different exceptions
        raise ValueError(
            f"--storage: expected a file or the URL of a database, got {storage}, which cannot be opened: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    search = json.loads(json.dumps({**asdict(sweep), "run_cap": None, "more": more}))
    before = study.user_attrs.get("search", search)
    changed = [key for key in search if before.get(key) != search[key]]
    if changed:
        raise ValueError(
            f"study {sweep.name} in {storage}: expected the same search, got different {', '.join(changed)}; "
            "choose another --output, or change the name in the file"
        )
    study.set_user_attr("search", search)
    return study


def _finish(study: optuna.Study, trial: Any, sweep: Sweep, arguments: argparse.Namespace, *, strict: bool) -> None:
    """Run a trial and store its result; with ``strict``, also raise the error of a failed training."""
    from optuna.trial import TrialState

    def tell(value: float | None = None, state: Any = None) -> None:
        # Another worker has finished the trial if this one was suspended for longer than the heartbeat allows.
        study.tell(trial, value, state=state, skip_if_finished=True)

    try:
        value = _run_trial(trial, sweep, arguments.output, arguments.fit)
    except _optuna().TrialPruned:
        tell(state=TrialState.PRUNED)
    except TrialFailed:
        tell(state=TrialState.FAIL)
        if strict:
            raise
    except BaseException:
        tell(state=TrialState.FAIL)
        raise
    else:
        tell(value)


def _run_trial(trial: Any, sweep: Sweep, output: Path, more: list[str]) -> float:
    from mot_core.cli import main
    from mot_core.cli.sweep.trial import Report

    point = {dimension.name: dimension.suggest(trial) for dimension in sweep.dimensions}
    folder = output / f"trial-{trial.number:03d}"
    # W&B's agent needs the W&B logger and an account; here each run writes a CSV file of metrics.
    local = ["--trainer.logger=null", "--trainer.devices=1", f"--output={folder}"]
    command = [*sweep.argv(point), *local, *more]
    trial.set_user_attr("command", shlex.join(["mot", *sweep.argv(point), *more]))
    report = Report(trial, sweep.metric, maximize=sweep.goal == "maximize")
    with report.listening():
        code = main([*command, "--trainer.callbacks+=mot_core.cli.sweep.trial.ReportTrial"])
    if code == 130:
        trial.set_user_attr(INTERRUPTED, True)
        raise KeyboardInterrupt(f"the results so far are in {output}; rerun the same command to resume")
    if code:
        raise TrialFailed(f"trial {trial.number} failed: {shlex.join(['mot', *command])}")
    if report.pruned:
        raise _optuna().TrialPruned
    if report.best is None:
        raise TrialFailed(
            f"trial {trial.number}: expected a value of {sweep.metric}, got none; validate at least once per trial"
        )
    return report.best


def write_results(study: optuna.Study, sweep: Sweep, output: Path) -> None:
    """Write the trials to ``trials.json`` and ``trials.csv``."""
    rows = _rows(study, sweep)
    with open_atomic(output / "trials.json") as file:
        file.write(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with open_atomic(output / "trials.csv") as file:
        file.write(text.getvalue())


def _rows(study: optuna.Study, sweep: Sweep) -> list[dict[str, Any]]:
    """Return one row per trial; the value of a pruned trial is its last one."""
    constant = {one.name: one.values[0] for one in sweep.dimensions if one.kind == "constant"}
    rows = []
    for trial in finished(study):
        seconds = (trial.datetime_complete - trial.datetime_start).total_seconds()
        value = None if trial.value is None or trial.value != trial.value else trial.value
        values = {one.name: {**constant, **trial.params}.get(one.name) for one in sweep.dimensions}
        state = {"COMPLETE": "complete", "PRUNED": "stopped early"}.get(trial.state.name, "failed")
        rows.append(
            {"trial": trial.number, "state": state, sweep.metric: value, **values, "seconds": round(seconds, 1)}
        )
    return rows


def _report(study: optuna.Study, sweep: Sweep, arguments: argparse.Namespace) -> None:
    rows = _rows(study, sweep)
    write_results(study, sweep, arguments.output)
    console = open_console()
    cells = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    columns = [name.removeprefix("model.init_args.") for name in rows[0]]
    print_table(f"trials in {arguments.output}", columns, cells, console)
    complete = [trial for trial in finished(study) if trial.state.name == "COMPLETE"]
    if complete:
        best = study.best_trial
        console.print(f"best: trial {best.number}, {sweep.metric} {best.value:.4g}", soft_wrap=True)
        console.print(best.user_attrs["command"], soft_wrap=True)


def _optuna() -> Any:
    with needs("optuna", "train,tune", "mot sweep"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # `mot fit` prints why a trial failed
    return optuna
