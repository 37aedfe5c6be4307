"""The contract between trackers and plug-ins: hooks, capabilities, negotiation and discovery.

>>> from mot_core.plugins import Plugin, Plugins
>>> from mot_core.structures import TrackerSpec
>>> class Nothing(Plugin):
...     name = "nothing"
>>> plugins = Plugins(Nothing(weight=0.5))
>>> plugins.setup(TrackerSpec("mine"))["query_update"]
'tracker'
"""

from mot_core.plugins.negotiation import CAPABILITIES, OPTIONS
from mot_core.plugins.plugin import Context, Plugin
from mot_core.plugins.registry import InstalledPlugin, installed_plugins, load_plugin
from mot_core.plugins.runner import Plugins

__all__ = [
    "CAPABILITIES",
    "OPTIONS",
    "Context",
    "InstalledPlugin",
    "Plugin",
    "Plugins",
    "installed_plugins",
    "load_plugin",
]
