"""Lightning callback: ``mot fit ... --trainer.callbacks+=TrackSmoothnessCallback``."""

from __future__ import annotations

from typing import Any

from example_method.plugin import TrackSmoothnessPlugin
from mot_core.extras import needs

with needs("lightning", "train", "TrackSmoothnessCallback", package="example-method"):
    from mot_core.callbacks import PluginCallback


class TrackSmoothnessCallback(PluginCallback):
    """Attach the loss to a mot-core tracker for training.

    Args:
        arguments: Arguments of :class:`example_method.TrackSmoothnessPlugin`.

    >>> TrackSmoothnessCallback(weight=0.2).plugin.weight
    0.2
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(TrackSmoothnessPlugin(**arguments))
