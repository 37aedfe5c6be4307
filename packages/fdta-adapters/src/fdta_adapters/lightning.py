"""The Lightning callbacks: ``mot fit ... --trainer.callbacks+=FDTACallback``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fdta_adapters.plugins import (
    FDTA,
    FDTA_RELEASED,
    IdentityAdapterPlugin,
    SpatialAdapterPlugin,
    TemporalAdapterPlugin,
)
from mot_core.extras import needs

with needs("lightning", "train", "the callbacks of FDTA", package="fdta-adapters"):
    from lightning import Callback, LightningModule, Trainer

    from mot_core.callbacks import PluginCallback


class SpatialAdapterCallback(PluginCallback):
    """Attach the spatial adapter of FDTA to a mot-core tracker.

    Args:
        arguments: Arguments of :class:`fdta_adapters.SpatialAdapterPlugin`.

    >>> SpatialAdapterCallback(weight=0.2).plugin.weight
    0.2
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(SpatialAdapterPlugin(**arguments))


class TemporalAdapterCallback(PluginCallback):
    """Attach the temporal adapter of FDTA to a mot-core tracker.

    Args:
        arguments: Arguments of :class:`fdta_adapters.TemporalAdapterPlugin`.

    >>> TemporalAdapterCallback(layers=2).plugin.settings["layers"]
    2
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(TemporalAdapterPlugin(**arguments))


class IdentityAdapterCallback(PluginCallback):
    """Attach the identity adapter of FDTA to a mot-core tracker for training.

    Args:
        arguments: Arguments of :class:`fdta_adapters.IdentityAdapterPlugin`.

    >>> IdentityAdapterCallback(tau=0.2).plugin.settings["tau"]
    0.2
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(IdentityAdapterPlugin(**arguments))


class FDTACallback(Callback):
    """Attach the three adapters of FDTA to a mot-core tracker, or some of them.

    Args:
        depth_weight: Weight of the depth loss of the spatial adapter.
        identity_weight: Weight of the contrastive loss of the identity adapter.
        use_spatial: Attach the spatial adapter.
        use_temporal: Attach the temporal adapter.
        use_identity: Attach the identity adapter.
        released: Reproduce the authors' released code, which differs from the paper.
        spatial: Other arguments of :class:`fdta_adapters.SpatialAdapterPlugin`.
        temporal: Other arguments of :class:`fdta_adapters.TemporalAdapterPlugin`.
        identity: Other arguments of :class:`fdta_adapters.IdentityAdapterPlugin`.

    >>> [callback.plugin.name for callback in FDTACallback(use_spatial=False).callbacks]
    ['fdta_temporal', 'fdta_identity']
    """

    def __init__(
        self,
        depth_weight: float = 1.0,
        identity_weight: float = 1.0,
        use_spatial: bool = True,
        use_temporal: bool = True,
        use_identity: bool = True,
        released: bool = False,
        spatial: dict[str, Any] | None = None,
        temporal: dict[str, Any] | None = None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        base: Mapping[str, Mapping[str, Any]] = FDTA_RELEASED if released else {}
        own = {
            "spatial": (use_spatial, {"weight": depth_weight}, spatial),
            "temporal": (use_temporal, {}, temporal),
            "identity": (use_identity, {"weight": identity_weight}, identity),
        }
        arguments = {
            name: {**base.get(name, {}), **weight, **(others or {})} if used else None
            for name, (used, weight, others) in own.items()
        }
        self.callbacks = [PluginCallback(plugin) for plugin in FDTA(**arguments)]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Attach the adapters in training."""
        for callback in self.callbacks:
            callback.setup(trainer, pl_module, stage)
