"""``mot bench``: benchmarks on this machine."""

from __future__ import annotations

import argparse

from mot_core.cli.parser import add_command

EPILOG = """\
examples:
  mot bench kernels
  mot bench kernels --only sinkhorn --json kernels.json

The exit code is 2 if no GPU is available. `python -m mot_core.bench kernels` does the same and needs fewer packages.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare ``mot bench kernels``; PyTorch is imported only when the command runs."""
    parser.epilog = EPILOG
    commands = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    summary = "measure speed, memory and roofline share of the GPU kernels, compared with PyTorch"
    kernels = add_command(commands, "kernels", summary, epilog=EPILOG)
    from mot_core.bench.kernels import add_arguments, run

    add_arguments(kernels)
    kernels.set_defaults(run=run)
