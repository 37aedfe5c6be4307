"""Launcher of tests with two processes."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import distributed

TESTS = Path(__file__).parents[2]


def launch(script, *arguments):
    """Run ``_helpers/two_process/<script>.py`` in a new interpreter on one thread, and return its output."""
    command = [sys.executable, "-m", f"_helpers.two_process.{script}", *map(str, arguments)]
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, timeout=600, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def in_two_processes(work, folder):
    """Call ``work(rank, folder)`` in two processes that form a gloo process group."""
    torch.multiprocessing.start_processes(_work, (work, Path(folder)), nprocs=2, start_method="fork")


def _work(rank, work, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    work(rank, folder)
    distributed.destroy_process_group()
