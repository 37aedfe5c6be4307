"""The base class of the Lightning callbacks that attach a plug-in to a tracker."""

from __future__ import annotations

from lightning import Callback, LightningModule, Trainer

from mot_core.plugins import Plugin
from mot_core.trackers import Tracker


class PluginCallback(Callback):
    """Attach a plug-in to a mot-core tracker before its optimizer is built.

    A method package derives its callback with one constructor, so that the arguments are declared in the plug-in only.
    LightningCLI reads flags and help of the callback from the signature and docstring of the plug-in.

    Args:
        plugin: Plug-in to attach.

    >>> class MyPlugin(Plugin):
    ...     name = "my_method"
    >>> class MyCallback(PluginCallback):
    ...     def __init__(self, **arguments):
    ...         super().__init__(MyPlugin(**arguments))
    >>> MyCallback(weight=0.2).plugin.weight
    0.2
    """

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Attach the plug-in before the tracker is set up, also to test a checkpoint that contains its weights.

        Raises:
            TypeError: If the model is not a mot-core tracker.
        """
        if not isinstance(pl_module, Tracker):
            name = type(self.plugin).__name__
            raise TypeError(
                f"{type(self).__name__}: expected a mot-core tracker, got {type(pl_module).__name__}; attach {name} to "
                "your model with mot_core.tap.Tap, or compute the loss in its training step"
            )
        new = stage == "fit" or pl_module.plugins.spec is None
        if new and self.plugin.name not in pl_module.plugins:
            pl_module.attach(self.plugin)
