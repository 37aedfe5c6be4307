"""The Lightning callback: ``mot fit ... --trainer.callbacks+=LAMOTRCallback``."""

from __future__ import annotations

from typing import Any

from lamotr.plugin import LAMOTRPlugin
from mot_core.extras import needs

with needs("lightning", "train", "LAMOTRCallback", package="lamotr"):
    from mot_core.callbacks import PluginCallback


class LAMOTRCallback(PluginCallback):
    """Attach learnable association to a mot-core tracker.

    Args:
        arguments: Arguments of :class:`lamotr.LAMOTRPlugin`.

    >>> LAMOTRCallback(weight=5.0).plugin.weight
    5.0
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(LAMOTRPlugin(**arguments))
