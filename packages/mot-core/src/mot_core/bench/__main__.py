"""``python -m mot_core.bench kernels``: requires only torch, triton, numpy, scipy and einops."""

from __future__ import annotations

import argparse
import sys

from mot_core.bench.kernels import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m mot_core.bench", description=__doc__)
    commands = parser.add_subparsers(metavar="BENCHMARK", required=True)
    add_arguments(commands.add_parser("kernels", help="measure the GPU kernels"))
    sys.exit(run(parser.parse_args()))
