"""The plug-in as a callback: ``mot fit ... --trainer.callbacks+=em_kalman.lightning.EMKalmanCallback``."""

from __future__ import annotations

from em_kalman.model import NeuralKalmanFilter
from em_kalman.plugin import EMKalmanPlugin

try:
    from lightning import Callback, LightningModule, Trainer
except ModuleNotFoundError as error:
    if error.name != "lightning":
        raise
    raise ImportError("the callback needs lightning: pip install './packages/em-kalman[train]'") from error

from mot_core.trackers import Tracker


class EMKalmanCallback(Callback):
    """Attaches :class:`em_kalman.EMKalmanPlugin` to a tracker of mot-core, for training; nothing else is to be done.

    Args:
        checkpoint: file of ``mot fit --config em_kalman_mot17`` or :func:`em_kalman.save_model`.
        weight: of the loss.
        warmup_steps: steps over which the weight rises from 0.
        min_score: slots from this score are detections.
        detach_boxes: let no gradient reach the boxes, which their own losses train.
        model: a trained model, in place of ``checkpoint``.

    >>> EMKalmanCallback(model=NeuralKalmanFilter(), weight=0.2).plugin.weight
    0.2
    """

    def __init__(
        self,
        checkpoint: str = "",
        weight: float = 0.1,
        warmup_steps: int = 500,
        min_score: float = 0.5,
        detach_boxes: bool = True,
        model: NeuralKalmanFilter | None = None,
    ) -> None:
        self.plugin = EMKalmanPlugin(checkpoint, weight, warmup_steps, min_score, detach_boxes, model)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Attach it, before the optimiser is made.

        Raises:
            TypeError: the model is no tracker of mot-core.
        """
        if not isinstance(pl_module, Tracker):
            raise TypeError(
                f"EMKalmanCallback needs a tracker of mot-core, got {type(pl_module).__name__}; attach EMKalmanPlugin "
                "to it with mot_core.tap.Tap, or call EMKalmanLoss in its training step"
            )
        if stage == "fit" and self.plugin.name not in pl_module.plugins:
            pl_module.attach(self.plugin)
