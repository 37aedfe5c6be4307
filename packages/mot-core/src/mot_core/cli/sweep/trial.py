"""Reporting of the metric of a training run to the sweep that started it in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mot_core.extras import needs

with needs("lightning", "train", "mot sweep trains, which"):
    from lightning import Callback, LightningModule, Trainer


class ReportTrial(Callback):
    """Report the metric after every validation, and stop training if the sweep prunes the trial."""

    running: Report | None = None
    """Report of the running trial; a class attribute because ``mot fit`` accepts only strings."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric."""
        report = ReportTrial.running
        if report is None or trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        if report.metric not in metrics:
            known = ", ".join(sorted(name for name in metrics if name.startswith("val/"))) or "none"
            raise ValueError(f"metric.name: expected a logged metric, got {report.metric}; logged are: {known}")
        if report.add(float(metrics[report.metric])):
            trainer.should_stop = True


class Report:
    """The values of the metric in one trial.

    Args:
        trial: Optuna trial.
        metric: Name of the logged metric to optimize.
        maximize: Whether higher values of the metric are better.
    """

    def __init__(self, trial: Any, metric: str, *, maximize: bool) -> None:
        self.trial = trial
        self.metric = metric
        self.maximize = maximize
        self.values: list[float] = []
        self.pruned = False

    def add(self, value: float) -> bool:
        """Add a value, and return whether training should stop."""
        self.trial.report(value, step=len(self.values))
        self.values.append(value)
        self.pruned = self.trial.should_prune()
        return self.pruned

    @property
    def best(self) -> float | None:
        """Best value of all validations, ignoring NaN."""
        numbers = [value for value in self.values if value == value]
        return (max if self.maximize else min)(numbers, default=None)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Collect the reports of the training run in the block."""
        ReportTrial.running = self
        try:
            yield
        finally:
            ReportTrial.running = None
