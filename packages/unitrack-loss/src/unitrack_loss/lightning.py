"""The loss as a callback: ``mot fit ... --trainer.callbacks+=unitrack_loss.lightning.UniTrackCallback``."""

from __future__ import annotations

from typing import Any

from unitrack_loss.plugin import UniTrackPlugin

try:
    from lightning import Callback, LightningModule, Trainer
except ModuleNotFoundError as error:
    if error.name != "lightning":
        raise
    raise ImportError("the callback needs lightning: pip install './packages/unitrack-loss[train]'") from error

from mot_core.trackers import Tracker


class UniTrackCallback(Callback):
    """Attaches the loss to a tracker of mot-core, for training; nothing else is to be done.

    Args:
        weight: of the loss.
        warmup_steps: steps over which the weight rises from 0.
        min_score: slots without an object are detections from this score.
        report_every: steps from one look at the gradient to the next.
        settings: those of :class:`unitrack_loss.Settings`.

    >>> UniTrackCallback(weight=0.2, window=3).plugin.weight
    0.2
    """

    def __init__(
        self,
        weight: float = 0.1,
        warmup_steps: int = 500,
        min_score: float = 0.1,
        report_every: int = 50,
        **settings: Any,
    ) -> None:
        self.plugin = UniTrackPlugin(weight, warmup_steps, min_score, report_every, **settings)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Attach it, before the optimiser is made.

        Raises:
            TypeError: the model is no tracker of mot-core.
        """
        if not isinstance(pl_module, Tracker):
            raise TypeError(
                f"UniTrackCallback needs a tracker of mot-core, got {type(pl_module).__name__}; attach UniTrackPlugin "
                "to it with mot_core.tap.Tap, or call unitrack_loss() in its training step"
            )
        if stage == "fit" and self.plugin.name not in pl_module.plugins:
            pl_module.attach(self.plugin)
