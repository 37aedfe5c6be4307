"""``mot plugins``: the installed plug-ins, the packages that provide them, and loading errors."""

from __future__ import annotations

import argparse

from mot_core.cli.terminal import open_console, print_table

EPILOG = """\
examples:
  mot plugins
  MOT_CORE_PLUGINS=my_loss.py:MyLoss mot plugins

Packages provide plug-ins through the entry-point group mot_core.plugins. The variable MOT_CORE_PLUGINS adds plug-ins
under development, as module:Class or path/file.py:Class. The exit code is 1 if a plug-in cannot be loaded; the others
remain usable.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot plugins``."""
    parser.epilog = EPILOG
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the plug-ins, followed by the reasons why some of them cannot be loaded."""
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
