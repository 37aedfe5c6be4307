"""Released weights that contain a tracker and plug-ins, such as those of FDTA."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from mot_core.checkpoints import ImportReport
from mot_core.plugins import Plugin, installed_plugins
from mot_core.trackers.base import Tracker
from mot_core.trackers.checkpoint import build


def attach_released(tracker: Tracker, state: Mapping[str, Tensor]) -> None:
    """Attach the installed plug-ins that released weights contain, before the tracker is set up.

    A plug-in that cannot be loaded is reported on stderr and skipped, since it may not be needed.

    Args:
        tracker: New tracker.
        state: Released state dict.
    """
    for plugin in installed_plugins():
        try:
            cls = plugin.load()
        except ValueError as error:
            print(f"mot: skipped: {error}", file=sys.stderr)
            continue
        arguments = cls.released_arguments(state)
        if arguments is not None:
            tracker.attach(build(cls, arguments))


def import_released(tracker: Tracker, state: Mapping[str, Tensor]) -> ImportReport:
    """Load released weights into a tracker, and into its plug-ins those that the tracker does not use.

    Args:
        tracker: Tracker, with its plug-ins attached.
        state: Released state dict.

    Returns:
        Report of all keys, with the names of the tracker.

    Raises:
        ValueError: If the weights have another architecture.
    """
    tracker.setup()
    report = tracker.import_weights(state)
    used = dict(report.used)
    for plugin in tracker.plugins.values():
        assert isinstance(plugin, Plugin)
        rest = {key: tensor for key, tensor in state.items() if key not in used}
        used |= {theirs: f"plugins.{plugin.name}.{ours}" for theirs, ours in plugin.import_weights(rest).items()}
    unused = {key: reason for key, reason in report.unused.items() if key not in used}
    return replace(report, used=used, unused=unused)
