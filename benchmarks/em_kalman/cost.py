"""Time and memory of em-kalman: filter and smoother against filterpy, windows per second, growth, torch.compile.

    python -m benchmarks.em_kalman.cost              # all parts
    python -m benchmarks.em_kalman.cost growth       # some of them

CPU seconds on one thread; each part runs in a separate process. Writes the measured parts to
``results/em_kalman/cost.json``. filterpy is in the development environment.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.fresh_process import in_fresh_process, peak
from benchmarks.provenance import RESULTS_FOLDER, provenance
from em_kalman import EMKalmanLoss, NeuralKalmanFilter, WindowBatch
from mot_core.ops import kalman_filter, observation_loglik, rts_smoother

MODULE = "benchmarks.em_kalman.cost"
RESULTS = RESULTS_FOLDER / "em_kalman/cost.json"
MEASURED = ("packages/em-kalman/src", "packages/mot-core/src/mot_core/ops")
RUNS = 5
REPEATS = 5  # for runs of a few milliseconds
# (objects, frames).
LOOPED = ((8, 10), (64, 10), (64, 64))
LEARNED = ((10, 10), (30, 10))
GROWTH = {
    "decoupled": ((8, 10), (64, 10), (256, 10), (512, 10), (64, 64), (512, 64)),
    "training step": ((8, 10), (64, 10), (256, 10), (512, 10), (64, 64), (512, 64)),
    "joint": ((8, 10), (64, 10), (128, 10)),
}
COMPILED = ((64, 10),)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--here", help="measure in this process and print; used internally")
    options = parser.parse_args(arguments)
    if options.here:
        name, *rest = json.loads(options.here)
        print(json.dumps(MEASURES[name](*rest)))
        return
    path = RESULTS
    report: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"threads": 1, "runs": RUNS}
    for part in options.parts:
        report[part] = {**provenance(*MEASURED), "rows": []}
        for case in PARTS[part]:
            row = in_fresh_process(MODULE, part, *case)
            if part == "growth":
                row["peak_MB"] = in_fresh_process(MODULE, "memory", *case, exact_memory=True)
            report[part]["rows"].append(row)
            print(part, report[part]["rows"][-1], flush=True)
            path.write_text(json.dumps(report, indent=1) + "\n")


def compared_with_filterpy(objects: int, frames: int) -> dict[str, Any]:
    """Compare filter and smoother of ``objects`` tracks with a loop of filterpy filters, in turn."""
    points = scene(objects, frames).double()
    identity = torch.eye(objects, dtype=torch.float64).expand(1, frames, objects, objects)

    def ours() -> Tensor:
        return rts_smoother(filtered(points, identity, "decoupled")).mean[0, :, :, 0]

    def loop() -> Tensor:
        return torch.tensor(np.stack([_filterpy(points[0, :, one].numpy()) for one in range(objects)], 1))

    difference = (ours() - loop()).abs().max().item()
    seconds: dict[str, list[float]] = {"ours": [], "filterpy": []}
    for _ in range(RUNS):
        for name, work in (("ours", ours), ("filterpy", loop)):
            seconds[name].append(_seconds(work, REPEATS))
    found = {name: median(values) for name, values in seconds.items()}
    return {
        "objects": objects,
        "frames": frames,
        "largest_difference": difference,
        "ours_ms": _ms(found["ours"]),
        "filterpy_ms": _ms(found["filterpy"]),
        "factor": round(found["filterpy"] / found["ours"], 1),
    }


def windows(objects: int, frames: int) -> dict[str, Any]:
    """Measure windows per second in training, in batches of eight."""
    work = training_step(objects, frames, 8)
    work()
    seconds = median(_seconds(work) for _ in range(RUNS))
    return {"objects": objects, "frames": frames, "windows_per_second": round(8 / seconds, 1)}


def growth(kind: str, objects: int, frames: int) -> dict[str, Any]:
    """Time forward and backward of the filter, or of a training step with one window."""
    work = step_of(kind, objects, frames)
    runs = RUNS if _seconds(work) < 1 else 1
    seconds = median(_seconds(work) for _ in range(runs))
    return {"kind": kind, "objects": objects, "frames": frames, "ms": _ms(seconds)}


def memory(kind: str, objects: int, frames: int) -> float:
    """Return the resident memory that the first step adds, in MB."""
    work = step_of(kind, objects, frames)
    before = peak()
    work()
    return round((peak() - before) / 2**20, 1)


def step_of(kind: str, objects: int, frames: int) -> Callable[[], None]:
    """Return a step of this kind with one window."""
    return training_step(objects, frames, 1) if kind == "training step" else filter_step(objects, frames, kind)


def compiled(objects: int, frames: int) -> dict[str, Any]:
    """Time the filter and its likelihood, forward and backward, eager and compiled."""
    plain = filter_step(objects, frames, "decoupled")
    plain()
    fast = filter_step(objects, frames, "decoupled", torch.compile)
    start = time.perf_counter()
    fast()
    compiling = time.perf_counter() - start
    pairs = [(_seconds(plain), _seconds(fast)) for _ in range(RUNS)]
    before, after = (median(values) for values in zip(*pairs, strict=True))
    return {
        "objects": objects,
        "frames": frames,
        "ms": _ms(before),
        "compiled_ms": _ms(after),
        "factor": round(before / after, 1),
        "compiling_s": round(compiling, 1),
    }


def scene(objects: int, frames: int) -> Tensor:
    """Return centers ``(1, T, N, 2)`` in pixels of objects with constant velocity."""
    rng = torch.Generator().manual_seed(0)
    start, speed = torch.rand(2, 1, 1, objects, 2, generator=rng) * torch.tensor([1000.0, 4.0]).view(2, 1, 1, 1, 1)
    return start + torch.arange(frames)[:, None, None] * speed + torch.randn(1, frames, objects, 2, generator=rng)


def filtered(points: Tensor, assoc: Tensor, layout: Any) -> Any:
    """Return the filter with a noise of one pixel."""
    _, frames, objects, _ = points.shape
    one = points.new_ones(1, objects)
    noise = one if layout == "decoupled" else points.new_ones(1, frames, objects)
    return kalman_filter(
        points,
        assoc,
        points[:, 0],
        process_noise=torch.stack([0 * one, 0.01 * one], -1),
        measurement_noise=noise,
        initial_variance=torch.stack([one, 10 * one], -1),
        layout=layout,
    )


def filter_step(
    objects: int, frames: int, layout: str, prepare: Callable[[Callable[..., Tensor]], Any] = lambda work: work
) -> Callable[[], None]:
    """Compute the likelihood of detections under soft associations, and its gradient."""
    points = scene(objects, frames)
    logits = torch.eye(objects).mul(6).expand(1, frames, objects, objects).clone().requires_grad_()

    def loss(logits: Tensor) -> Tensor:
        assoc = logits.softmax(2)
        result = filtered(points, assoc, layout)
        shape = (1, objects) if layout == "decoupled" else (1, frames, objects)
        noise = points.new_ones(shape)
        return -observation_loglik(points, assoc, result.predicted_mean, result.predicted_cov, noise).sum()

    ready = prepare(loss)

    def step() -> None:
        logits.grad = None
        torch.autograd.backward(ready(logits))

    return step


def training_step(objects: int, frames: int, batch: int) -> Callable[[], None]:
    """Compute loss and gradient of the whole model."""
    torch.manual_seed(0)
    model, loss = NeuralKalmanFilter(), EMKalmanLoss()
    corner = scene(objects, frames)
    boxes = torch.cat([corner, corner + torch.tensor([40.0, 80.0])], -1).repeat(batch, 1, 1, 1)
    valid = torch.ones(boxes.shape[:3], dtype=torch.bool)
    given = WindowBatch(boxes, valid, torch.tensor([[1080, 1920]] * batch), torch.arange(frames).expand(batch, -1))

    def step() -> None:
        model.zero_grad()
        torch.autograd.backward(loss(model(given), given)["loss"])

    return step


def _filterpy(points: Any) -> Any:
    """Return the smoothed positions ``(T, 2)`` of one object."""
    from filterpy.kalman import KalmanFilter

    one = KalmanFilter(4, 2)
    one.F = np.eye(4) + np.eye(4, k=2)
    one.H, one.R = np.eye(2, 4), np.eye(2)
    one.Q = np.diag([0.0, 0, 0.01, 0.01])
    one.x, one.P = np.array([*points[0], 0, 0]), np.diag([1.0, 1, 10, 10])
    means, covariances = [one.x], [one.P]
    for point in points[1:]:
        one.predict()
        one.update(point)
        means.append(one.x)
        covariances.append(one.P)
    return one.rts_smoother(np.array(means), np.array(covariances))[0][:, :2]


def _seconds(work: Callable[[], Any], repeats: int = 1) -> float:
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "filterpy": compared_with_filterpy,
    "windows": windows,
    "growth": growth,
    "memory": memory,
    "compiled": compiled,
}
PARTS: dict[str, list[tuple[Any, ...]]] = {
    "filterpy": list(LOOPED),
    "windows": list(LEARNED),
    "growth": [(kind, *case) for kind, cases in GROWTH.items() for case in cases],
    "compiled": list(COMPILED),
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
