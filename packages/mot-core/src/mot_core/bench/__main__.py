"""``python -m mot_core.bench kernels``: needs torch, triton, numpy, scipy and einops only."""

import argparse
import sys

from mot_core.bench.kernels import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m mot_core.bench", description=__doc__)
kernels = parser.add_subparsers(metavar="BENCHMARK", required=True).add_parser("kernels", help="the GPU kernels")
add_arguments(kernels)
sys.exit(run(parser.parse_args()))
