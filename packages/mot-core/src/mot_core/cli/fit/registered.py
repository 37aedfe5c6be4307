"""Importing what can be named by its class alone in ``mot fit``: jsonargparse knows imported classes only."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

OURS = ("mot_core.trackers", "mot_core.data", "mot_core.callbacks")


def import_registered() -> None:
    """Import our trackers, data and callbacks, and those of installed plug-ins.

    What a plug-in has for Lightning is in the module ``lightning`` of its package. What is broken is named on stderr
    and left out: it may not be needed.
    """
    from mot_core.plugins import installed_plugins

    for module in OURS:
        import_module(module)
    packages = set()
    for plugin in installed_plugins():
        try:
            packages.add(plugin.load().__module__.partition(".")[0])
        except ValueError as error:  # noqa: PERF203 - each may be broken
            print(f"mot: left out: {error}", file=sys.stderr)
    for package in sorted(packages - {"mot_core"}):
        try:
            if find_spec(f"{package}.lightning"):
                import_module(f"{package}.lightning")
        except Exception as error:  # noqa: PERF203 - it may fail in any way; say which one it was
            print(f"mot: left out: {package}.lightning: {type(error).__name__}: {error}", file=sys.stderr)
