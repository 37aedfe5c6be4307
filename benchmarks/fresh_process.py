"""Measures in a process of their own, with one thread: nothing that ran before counts."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from typing import Any

# Freed memory goes back to the system at once: else the peak tells of the allocator, not of what was needed. Slower.
EXACT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def in_fresh_process(script: str, *what: Any, exact_memory: bool = False, limit: float = 1200) -> Any:
    """What ``script --here WHAT``, with ``what`` as JSON, prints last, as JSON.

    Args:
        script: file of the calling benchmark.
        what: the measure and its arguments.
        exact_memory: give freed memory back at once.
        limit: seconds, after which ``subprocess.TimeoutExpired`` is raised.

    Raises:
        RuntimeError: the process failed, with what it wrote to stderr.
    """
    command = [sys.executable, "-W", "ignore", script, "--here", json.dumps(what)]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | (EXACT_MEMORY if exact_memory else {})
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=limit)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def peak() -> int:
    """Bytes of the largest resident memory so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
