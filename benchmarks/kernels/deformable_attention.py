"""CPU time of the deformable attention reference and of a plain Python loop, forward and backward, on one thread.

    python -m benchmarks.kernels.deformable_attention

Writes ``results/kernels/deformable_attention.json``. The loop is the reference of the tests, so both compute
the same result; its backward pass is not timed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks.provenance import RESULTS_FOLDER, SOURCES, TESTS, provenance
from mot_core.ops import deformable_attention

sys.path.insert(0, str(TESTS))
from _helpers.deformable_attention_loop import loop, make

# Name: batch, queries (None: every cell, as in an encoder), heads, channels per head, levels, points.
CASES = {
    "decoder of the small configuration, 96 x 160": (1, 30, 8, 8, [(12, 20), (6, 10), (3, 5)], 4),
    "encoder of the small configuration, 96 x 160": (1, None, 8, 8, [(12, 20), (6, 10), (3, 5)], 4),
    "decoder of a paper, 800 x 1440": (1, 300, 8, 32, [(100, 180), (50, 90), (25, 45), (13, 23)], 4),
    "encoder of a paper, 800 x 1440": (1, None, 8, 32, [(100, 180), (50, 90), (25, 45), (13, 23)], 4),
}
LOOP_SAMPLES = 100_000  # larger cases take minutes


def main() -> None:
    torch.set_num_threads(1)
    rows = [measure(name, *case) for name, case in CASES.items()]
    report = {
        **provenance(f"{SOURCES}/ops"),
        "torch": torch.__version__,
        "threads": 1,
        "results": rows,
    }
    path = RESULTS_FOLDER / "kernels/deformable_attention.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    for row in rows:
        print(row)
    print(f"wrote {path}")


def measure(
    name: str, batch: int, queries: int | None, heads: int, channels: int, shapes: list[tuple[int, int]], points: int
) -> dict[str, object]:
    """Return median CPU seconds of five calls, and CPU seconds of one call of the loop."""
    queries = queries or sum(height * width for height, width in shapes)
    value, _, locations, weights = make(batch, queries, heads, channels, shapes, points, dtype=torch.float32)
    samples = weights.numel()
    row: dict[str, object] = {"case": name, "queries": queries, "samples": samples}
    if samples <= LOOP_SAMPLES:
        row["loop_s"] = timed(lambda: loop(value, shapes, locations, weights), 1)
    row["forward_s"] = timed(lambda: deformable_attention(value, shapes, locations, weights))
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    row["forward_backward_s"] = timed(
        lambda: torch.autograd.grad(deformable_attention(value, shapes, locations, weights).sum(), inputs)
    )
    if "loop_s" in row:
        row["speed_up"] = round(row["loop_s"] / row["forward_s"])  # type: ignore[operator]
    return row


def timed(call: Callable[[], object], runs: int = 5) -> float:
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return round(median(seconds), 5)


if __name__ == "__main__":
    main()
