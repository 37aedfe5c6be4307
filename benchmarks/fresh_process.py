"""Measure in a fresh process with one thread, unaffected by earlier code."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import Any

from benchmarks.provenance import ROOT

# Return freed memory to the system at once, so that the peak is exact. Slower.
EXACT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def in_fresh_process(module: str, *what: Any, exact_memory: bool = False, limit: float = 1200) -> Any:
    """Run ``python -m module --here WHAT``, with ``what`` as JSON, and return the JSON of its last line.

    Args:
        module: Name of the calling benchmark.
        what: Measurement and its arguments.
        exact_memory: Return freed memory to the system at once.
        limit: Seconds after which ``subprocess.TimeoutExpired`` is raised.

    Raises:
        RuntimeError: If the process failed, with its stderr.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, "--here", json.dumps(what)]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | (EXACT_MEMORY if exact_memory else {})
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=limit, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def peak() -> int:
    """Return the peak resident memory so far in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
