"""NT-Xent of pytorch-metric-learning between consecutive frames, forward and backward: CPU seconds and memory, as JSON.

``python benchmarks/peers/metric_learning.py DETECTIONS FRAMES CHANNELS``, run by benchmarks.unitrack.cost. One call
per pair of frames, with the next frame as reference, is its cheapest use: a single call for all frames would compare
every positive pair with every negative pair.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

import torch
from pytorch_metric_learning.losses import NTXentLoss

RUNS = 5


def main() -> None:
    torch.set_num_threads(1)
    detections, frames, channels = (int(one) for one in sys.argv[1:])
    generator = torch.Generator().manual_seed(0)
    embed = torch.randn(1, frames, detections, channels, generator=generator).requires_grad_()
    labels, loss = torch.arange(detections), NTXentLoss(temperature=0.1)

    def step() -> None:
        pairs = [
            loss(embed[0, t], labels, ref_emb=embed[0, t + 1], ref_labels=labels.clone()) for t in range(frames - 1)
        ]
        torch.autograd.grad(torch.stack(pairs).mean(), embed)

    step()
    seconds = []
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(RUNS):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    row = {"detections": detections, "frames": frames, "ntxent_s": round(median(seconds), 5)}
    print(json.dumps(row | {"ntxent_MB": round((memory("VmHWM") - before) / 1024, 1)}))


def memory(field: str) -> int:
    """KiB."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(f"{field}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    main()
