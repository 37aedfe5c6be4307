"""What a training tells the sweep that started it in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mot_core.extras import needs

with needs("lightning", "train", "mot sweep trains, which"):
    from lightning import Callback, LightningModule, Trainer


class ReportTrial(Callback):
    """Tells the metric after every validation, and ends the training where the sweep sees no hope in it."""

    running: Report | None = None
    """Of the trial that is running; ``mot fit`` is given nothing but words."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the metric."""
        report = ReportTrial.running
        if report is None or trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        if report.metric not in metrics:
            known = ", ".join(sorted(name for name in metrics if name.startswith("val/"))) or "none"
            raise ValueError(f"the sweep compares {report.metric}, which the training does not log; it logs {known}")
        if report.add(float(metrics[report.metric])):
            trainer.should_stop = True


class Report:
    """The values of the metric in one trial.

    Args:
        trial: of Optuna.
        metric: what is logged and compared.
        maximize: whether more of it is better.
    """

    def __init__(self, trial: Any, metric: str, *, maximize: bool) -> None:
        self.trial = trial
        self.metric = metric
        self.maximize = maximize
        self.values: list[float] = []
        self.pruned = False

    def add(self, value: float) -> bool:
        """Take a value; whether the training should end."""
        self.trial.report(value, step=len(self.values))
        self.values.append(value)
        self.pruned = self.trial.should_prune()
        return self.pruned

    @property
    def best(self) -> float | None:
        """The best value of all validations; NaN counts as none."""
        numbers = [value for value in self.values if value == value]
        return (max if self.maximize else min)(numbers, default=None)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The training in the block belongs to this trial."""
        ReportTrial.running = self
        try:
            yield
        finally:
            ReportTrial.running = None
