"""The Lightning callback: ``mot fit ... --trainer.callbacks+=UniTrackCallback``."""

from __future__ import annotations

from typing import Any

from mot_core.extras import needs
from unitrack_loss.plugin import UniTrackPlugin

with needs("lightning", "train", "UniTrackCallback", package="unitrack-loss"):
    from mot_core.callbacks import PluginCallback


class UniTrackCallback(PluginCallback):
    """Attach the UniTrack loss to a mot-core tracker for training.

    Args:
        arguments: Arguments of :class:`unitrack_loss.UniTrackPlugin`.

    >>> UniTrackCallback(weight=0.2, window=3).plugin.weight
    0.2
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(UniTrackPlugin(**arguments))
