"""The Lightning callback: ``mot fit ... --trainer.callbacks+=EMKalmanCallback``."""

from __future__ import annotations

from typing import Any

from em_kalman.plugin import EMKalmanPlugin
from mot_core.extras import needs

with needs("lightning", "train", "EMKalmanCallback", package="em-kalman"):
    from mot_core.callbacks import PluginCallback


class EMKalmanCallback(PluginCallback):
    """Attach the EM-Kalman loss to a mot-core tracker for training.

    Args:
        arguments: Arguments of :class:`em_kalman.EMKalmanPlugin`.

    >>> from em_kalman import NeuralKalmanFilter
    >>> EMKalmanCallback(model=NeuralKalmanFilter(), weight=0.2).plugin.weight
    0.2
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(EMKalmanPlugin(**arguments))
