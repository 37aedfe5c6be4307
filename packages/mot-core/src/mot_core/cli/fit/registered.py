"""Import of the classes that ``mot fit`` accepts by bare name, because jsonargparse finds imported classes only."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

OURS = ("mot_core.trackers", "mot_core.data", "mot_core.callbacks")


def import_registered() -> None:
    """Import our trackers, data and callbacks, and those of installed packages.

    A package provides trackers by entry point, and callbacks and data modules in its module ``lightning``. Broken
    packages are reported on stderr and skipped, since they may not be needed.
    """
    from mot_core.association.registry import installed_trackers, load_tracker
    from mot_core.plugins import installed_plugins

    for module in OURS:
        import_module(module)
    packages = set()
    for plugin in installed_plugins():
        try:
            packages.add(plugin.load().__module__.partition(".")[0])
        except ValueError as error:  # noqa: PERF203 - each can fail separately
            print(f"mot: skipped: {error}", file=sys.stderr)
    for name in installed_trackers():
        try:
            load_tracker(name)
        except ValueError as error:  # noqa: PERF203 - each can fail separately
            print(f"mot: skipped: {error}", file=sys.stderr)
    for package in sorted(packages - {"mot_core"}):
        try:
            if find_spec(f"{package}.lightning"):
                import_module(f"{package}.lightning")
        except Exception as error:  # noqa: PERF203 - it may raise anything; report which one failed
            print(f"mot: skipped: {package}.lightning: {type(error).__name__}: {error}", file=sys.stderr)
