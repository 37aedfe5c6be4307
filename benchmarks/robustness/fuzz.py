"""Run the fuzz batteries of tests/fuzz and store the number of cases and failures.

    python -m benchmarks.robustness.fuzz --minutes 60 --seed 2026

Takes the arguments of ``nox -s fuzz``, which builds an environment with py-motmetrics first. Writes
``results/robustness/fuzz.json``.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.provenance import RESULTS_FOLDER, ROOT, TESTS


def main(arguments: list[str]) -> int:
    """Run the batteries in a process that finds the tests, and return its exit code."""
    path = os.pathsep.join([str(TESTS), str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = RESULTS_FOLDER / "robustness/fuzz.json"
    command = [sys.executable, "-m", "fuzz", "--json", str(result), *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
