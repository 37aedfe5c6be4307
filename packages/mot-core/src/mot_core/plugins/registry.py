"""Installed plug-ins, found by entry point and loaded when named."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import cast
from zlib import crc32

from mot_core.plugins.plugin import Plugin
from mot_core.suggestions import suggest_name

GROUP = "mot_core.plugins"
VARIABLE = "MOT_CORE_PLUGINS"
"""Environment variable that adds plug-ins under development: ``module:Class`` or ``path/file.py:Class`` entries."""


@dataclass(frozen=True)
class InstalledPlugin:
    """A plug-in and its origin.

    Attributes:
        name: Name to load it by.
        target: ``module:Class`` or ``file.py:Class``.
        package: Distribution that provides it, or the environment variable that names it.
        version: Version of the distribution; empty without one.
    """

    name: str
    target: str
    package: str
    version: str = ""

    def load(self) -> type[Plugin]:
        """Import the class.

        Raises:
            ValueError: If it cannot be imported or is not a plug-in; the message names it and its package.
        """
        where = f"plug-in {self.name} ({self.target}, {self.package}{' ' + self.version if self.version else ''})"
        try:
            if ".py:" in self.target:
                found = _from_file(*self.target.rsplit(":", 1))
            else:
                found = EntryPoint(self.name, self.target, GROUP).load()
        except (Exception, SystemExit) as error:  # third-party code may raise anything
            raise ValueError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
        if not (isinstance(found, type) and issubclass(found, Plugin)):
            raise ValueError(f"{where} is not a class derived from mot_core.plugins.Plugin")
        return found


def installed_plugins() -> list[InstalledPlugin]:
    """Return the plug-ins of installed packages and of ``MOT_CORE_PLUGINS`` without importing them.

    >>> os.environ["MOT_CORE_PLUGINS"] = "mot_core.plugins:Plugin"
    >>> [plugin.package for plugin in installed_plugins() if plugin.target == "mot_core.plugins:Plugin"]
    ['MOT_CORE_PLUGINS']
    >>> del os.environ["MOT_CORE_PLUGINS"]
    """
    found = [
        InstalledPlugin(
            point.name, point.value, point.dist.name if point.dist else "?", point.dist.version if point.dist else ""
        )
        for point in entry_points(group=GROUP)
    ]
    found += [_under_development(target) for target in re.split(r"[,\s]+", os.environ.get(VARIABLE, "")) if target]
    return sorted(found, key=lambda plugin: plugin.name)


def load_plugin(name: str) -> type[Plugin]:
    """Load the class of the plug-in ``name``; one under development takes precedence over an installed one.

    Raises:
        ValueError: If no plug-in has this name, or it cannot be loaded.

    >>> load_plugin("no-such-plugin")
    Traceback (most recent call last):
    ValueError: unknown plug-in 'no-such-plugin'; installed plug-ins: ...
    """
    plugins = installed_plugins()
    named = [plugin for plugin in plugins if plugin.name == name]
    named = [plugin for plugin in named if plugin.package == VARIABLE] or named
    if not named:
        names = sorted({plugin.name for plugin in plugins})
        raise ValueError(f"unknown plug-in {name!r}; {suggest_name(name, names, 'installed plug-ins')}")
    if len(named) > 1:
        raise ValueError(
            f"plug-in {name!r} is provided by {' and in '.join(plugin.package for plugin in named)}; uninstall one"
        )
    return named[0].load()


def _under_development(target: str) -> InstalledPlugin:
    module, _, attribute = target.rpartition(":")
    if not (module and attribute.isidentifier()):
        raise ValueError(f"{VARIABLE}: expected module:Class or path/file.py:Class, got {target!r}")
    return InstalledPlugin(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", attribute).lower(), target, VARIABLE)


def _from_file(file: str, attribute: str) -> object:
    path = Path(file).resolve()
    # A unique name avoids clashes with other modules; in sys.modules, its classes can be pickled.
    name = f"_mot_plugin_{path.stem}_{crc32(str(path).encode()):x}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise FileNotFoundError(f"file {path} does not exist")
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return cast(object, getattr(sys.modules[name], attribute))
