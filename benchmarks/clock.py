"""Time of a measurement on a CPU or GPU."""

from __future__ import annotations

import time


def clock(device: str) -> float:
    """Return CPU seconds of this process, or wall seconds once the GPU is idle."""
    import torch

    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
