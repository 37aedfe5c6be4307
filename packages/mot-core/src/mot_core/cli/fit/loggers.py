"""Experiment loggers of ``mot fit``: project and folder of a W&B run, its settings and a table of scores."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mot_core.evaluation import Scores
from mot_core.evaluation.report import ClassScores
from mot_core.evaluation.table import COLUMNS
from mot_core.extras import needs
from mot_core.trackers import Tracker
from mot_core.trackers.checkpoint import describe

with needs("lightning", "train", "training"):
    from lightning import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger, Logger
    from lightning.pytorch.utilities import rank_zero_only


class LogSettings(Callback):
    """Log the settings of a run, and after every validation a table with the scores of every sequence.

    The CSV logger is left out, because ``config.yaml`` is next to its ``metrics.csv``. The table is for loggers with a
    method ``log_table``, which is W&B.

    Args:
        settings: Config of the run as plain data.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the config, and the plug-ins by name with their arguments and weights."""
        plugins: dict[str, Any] = {}
        if isinstance(pl_module, Tracker):
            given = describe(pl_module)["plugin_arguments"]
            for name, plugin in pl_module.plugins.items():
                weights = {"weight": plugin.weight, "warmup_steps": plugin.warmup_steps}
                plugins[name] = {**(given[name] or {}), **weights}
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):
                logger.log_hyperparams({**self.settings, "plugins": plugins})

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores before the tracker resets its metrics."""
        loggers: list[Any] = [logger for logger in trainer.loggers if hasattr(logger, "log_table")]
        if trainer.sanity_checking or not loggers or not isinstance(pl_module, Tracker):
            return
        scores = pl_module.val_metrics.per_sequence()  # a collective operation, called on all processes
        if not scores:
            return
        columns = COLUMNS[0]
        table: list[list[Any]] = [
            [name, *(row[column] for column in columns)]
            for name, row in ClassScores(scores, Scores.combine(scores.values())).rows()
        ]
        for logger in loggers:
            logger.log_table("val/scores", columns=["sequence", *columns], data=table, step=trainer.global_step)


def assign_run(given: Any, folder: Path, project: str) -> None:
    """Set project and folder of the W&B loggers in a parsed config, unless the user has set them.

    Args:
        given: Value of ``--trainer.logger``: a namespace with ``class_path`` and ``init_args``, or a list of them.
        folder: Folder of the run, created in the main process because W&B writes to the temporary folder otherwise.
        project: Name of the project; the environment variable ``WANDB_PROJECT`` has priority.

    Raises:
        ModuleNotFoundError: If wandb is not installed.
    """
    for one in given if isinstance(given, list) else [given]:
        if str(getattr(one, "class_path", "")).rpartition(".")[2] != "WandbLogger":
            continue
        with needs("wandb", "train,wandb", "WandbLogger"):
            import_module("wandb")  # Lightning's error does not name the extra
        arguments = one.init_args
        if not (arguments.project or os.environ.get("WANDB_PROJECT")):
            arguments.project = project
        if arguments.save_dir in (None, ".") and not arguments.dir:
            arguments.save_dir = str(folder)
            _create(folder)


@rank_zero_only
def _create(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def with_csv(given: Any, folder: Path) -> list[Logger] | bool:
    """Return the loggers of a run with a CSV logger that writes ``metrics.csv``; False disables all logging.

    >>> [type(one).__name__ for one in with_csv(None, Path("runs/version_0"))]
    ['CSVLogger']
    """
    if given is False:
        return False
    loggers = [] if given in (None, True) else list(given) if isinstance(given, list | tuple) else [given]
    if not any(isinstance(one, CSVLogger) for one in loggers):
        loggers.append(CSVLogger(folder.parent, name="", version=folder.name))
    return loggers


def project_name(configs: Sequence[Any], model: object) -> str:
    """Return the name of the first config, or of the model's class without a config.

    >>> project_name(["configs/motip_dancetrack.yaml", "mine.yaml"], object())
    'motip_dancetrack'
    """
    return Path(str(configs[0])).stem if configs else str(model).rpartition(".")[2]


@contextmanager
def finished_runs() -> Iterator[None]:
    """Finish the W&B run that the block starts, so that the next training in this process gets its own.

    A run that was active before belongs to the caller and stays open.
    """
    before = _active_run()
    failed = True
    try:
        yield
        failed = False
    finally:
        run = _active_run()
        if before is None and run is not None:
            run.finish(exit_code=int(failed))


def _active_run() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)
