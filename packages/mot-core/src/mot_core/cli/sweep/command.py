"""``mot sweep``: local hyperparameter search with Optuna, from a W&B sweep file and without a W&B account."""

from __future__ import annotations

import argparse
import csv
import io
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_core.cli.sweep.space import Sweep, read_sweep
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
Arguments after -- are passed to every `mot fit`.
"""
INTERRUPTED = "interrupted"


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
        "--storage", metavar="URL", help="database of the study, created if missing (default: sqlite:///DIR/study.db)"
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
    remove_stale(arguments.output, "trial-*/**/.*.tmp")
    storage = arguments.storage or f"sqlite:///{arguments.output / 'study.db'}"
    study = open_study(sweep, storage, arguments.fit)
    first = True
    points = sweep.grid() if sweep.method == "grid" else []
    while (done := len(finished(study))) < total and not (points and done >= len(points)):
        # A new sampler for every trial: a resumed search draws the same values as an uninterrupted one.
        samplers, seed = optuna.samplers, arguments.seed + done
        study.sampler = samplers.TPESampler(seed=seed) if sweep.method == "bayes" else samplers.RandomSampler(seed=seed)
        if points and not any(trial.state.name == "WAITING" for trial in study.trials):
            constant = {one.name for one in sweep.dimensions if one.kind == "constant"}
            study.enqueue_trial({name: value for name, value in points[done].items() if name not in constant})
        study.optimize(
            lambda trial: _run_trial(trial, sweep, arguments.output, arguments.fit),
            n_trials=1,
            catch=() if first else (TrialFailed,),  # if the first trial fails, so will the others
        )
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
            study_name=sweep.name, storage=storage, load_if_exists=True, direction=sweep.goal, pruner=pruner
        )
    except Exception as error:  # drivers raise different exceptions
        raise ValueError(
            f"--storage: expected the URL of a database, got {storage}, which cannot be opened: "
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


def finished(study: optuna.Study) -> list[Any]:
    """Return the trials that are complete, pruned or failed, without interrupted ones."""
    return [trial for trial in study.trials if trial.state.is_finished() and INTERRUPTED not in trial.user_attrs]


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
        trial.study.enqueue_trial(trial.params)
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
