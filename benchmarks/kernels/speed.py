"""Speed of the GPU kernels on the GPU of this machine.

    python -m benchmarks.kernels.speed

Writes ``results/kernels/speed.json``; the numbers of ``mot bench kernels`` with commit and machine.
"""

from __future__ import annotations

import json
import sys

import torch

from benchmarks.provenance import RESULTS_FOLDER, SOURCES, provenance
from mot_core.bench.cases import CASES
from mot_core.bench.kernels import report_on, table


def main() -> int:
    if not torch.cuda.is_available():
        print("benchmarks.kernels.speed: PyTorch found no GPU", file=sys.stderr)
        return 2
    report = report_on(CASES)
    print(table(report))
    path = RESULTS_FOLDER / "kernels/speed.json"
    path.write_text(json.dumps(report | provenance(f"{SOURCES}/ops", f"{SOURCES}/bench"), indent=1) + "\n")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
