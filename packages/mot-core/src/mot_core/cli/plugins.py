"""``mot plugins``: what can be attached to a tracker, from where, and what is broken."""

from __future__ import annotations

import argparse

from mot_core.cli.terminal import open_console, print_table

EPILOG = """\
examples:
  mot plugins
  MOT_CORE_PLUGINS=my_loss.py:MyLoss mot plugins

Packages bring plug-ins by an entry point of the group mot_core.plugins; the variable MOT_CORE_PLUGINS adds those under
development, module:Class or path/file.py:Class. The exit code is 1 if one cannot be loaded; the others work still.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare ``mot plugins``."""
    parser.epilog = EPILOG
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the plug-ins, and below them those that cannot be loaded with the reason."""
    from mot_core.plugins import installed_plugins
    from mot_core.plugins.negotiation import groups

    rows, problems = [], []
    for plugin in installed_plugins():
        try:
            needs = ", ".join(" or ".join(sorted(group)) for group in groups(plugin.load()))
        except ValueError as error:
            problems.append(str(error))
            needs = "broken"
        rows.append([plugin.name, plugin.package, plugin.version or "-", plugin.target, needs or "-"])
    console = open_console()
    if rows:
        print_table("plug-ins", ["name", "package", "version", "class", "needs"], rows, console, breaks="needs")
    else:
        console.print("no plug-ins are installed")
    for problem in problems:
        console.print(f"error: {problem}", soft_wrap=True)
    return 1 if problems else 0
