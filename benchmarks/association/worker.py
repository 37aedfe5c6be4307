"""Run the trackers of one package in its environment, controlled by JSON lines on stdin and stdout.

``python -m benchmarks.association.worker roboflow`` imports ``benchmarks.peers.roboflow``, prints its trackers and
versions, and then answers one job per line: ``{"job": "time", "tracker": "ByteTrack", "stream": "stream.npz"}``.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.association.streams import Stream
from benchmarks.peers import Peer


def time_updates(peer: Peer, stream: Stream) -> dict[str, Any]:
    """Return the CPU time of every update; all inputs are prepared before timing."""
    nanoseconds = []
    for frames in stream.sequences():
        prepared = [peer.prepare(boxes, scores) for boxes, scores in frames]
        step = peer.start()
        # Hide prepared inputs from the garbage collector, whose cost would grow with their number.
        gc.collect()
        gc.freeze()
        for frame in prepared:
            begin = time.process_time_ns()
            step(frame)
            nanoseconds.append(time.process_time_ns() - begin)
        gc.unfreeze()
    p50, p95 = np.percentile(nanoseconds, (50, 95)) / 1e6
    per_second = 1e9 * len(nanoseconds) / sum(nanoseconds)
    return {"frames_per_second": round(per_second, 1), "p50_ms": round(p50, 4), "p95_ms": round(p95, 4)}


def track(peer: Peer, stream: Stream, output: str) -> dict[str, Any]:
    """Write the tracks to ``output``, to be scored by the caller."""
    ids, boxes, counts = [], [], []
    for frames in stream.sequences():
        step = peer.start()
        for frame in frames:
            found, where = peer.read(step(peer.prepare(*frame)))
            ids.append(found)
            boxes.append(np.reshape(where, (-1, 4)))
            counts.append(len(found))
    np.savez(output, ids=np.concatenate(ids), boxes=np.concatenate(boxes), counts=np.array(counts))
    return {"boxes": sum(counts)}


def measure_memory(peer: Peer, stream: Stream, settled: int) -> dict[str, float]:
    """Return resident memory in MiB: at the end, at its peak, and its growth after the first ``settled`` frames."""
    (frames,) = stream.sequences()
    step = peer.start()
    at_start = 0.0
    for number, frame in enumerate(frames):
        if number == settled:
            gc.collect()
            at_start = _memory_mib("VmRSS")
        step(peer.prepare(*frame))
    gc.collect()
    at_end = _memory_mib("VmRSS")
    growth, peak = at_end - at_start, _memory_mib("VmHWM")
    return {"end_mib": round(at_end, 1), "peak_mib": round(peak, 1), "growth_mib": round(growth, 1)}


def _memory_mib(field: str) -> float:
    # Not resource.getrusage, whose peak includes that of the parent process.
    lines = Path("/proc/self/status").read_text().splitlines()
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kibibytes) / 1024


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "time": time_updates,
    "track": track,
    "memory": measure_memory,
}


def main() -> None:
    # Some peers print, and their output must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    package = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    trackers: dict[str, Peer] = package.TRACKERS
    about = {
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in package.PACKAGES},
        "trackers": {
            name: {key: getattr(value, "__name__", str(value)) for key, value in peer.parameters.items()}
            for name, peer in trackers.items()
        },
    }
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        job = json.loads(line)
        run = JOBS[job.pop("job")]
        answer = run(trackers[job.pop("tracker")], Stream.load(job.pop("stream")), **job)
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
