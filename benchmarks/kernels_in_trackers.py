"""What the kernels change in a tracker: training steps of MOTR and MOTIP and a frame of MOTIP, before and after.

    python benchmarks/kernels_in_trackers.py                      # MOT_CORE_KERNELS=reference, then what is chosen
    python benchmarks/kernels_in_trackers.py --before CHECKOUT    # the code of another checkout, then of this one

Before and after run in turn, in processes of their own, from the same weights. On a GPU the second takes the kernels,
and sizes of the papers are measured besides; on a CPU both take the reference. Times are of CUDA events, or CPU time of
one thread. The first losses and gradients, or tracks, are compared: the exit code is 1 if they differ. Nothing need be
installed but what mot-core[train] needs; its own code is that of the checkout. Appends a line for each case to
``results/kernels_in_trackers.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from provenance import ROOT, SOURCES, commit, provenance
from torch import Tensor
from trackers import PAPER, SMALL, build, peak

if TYPE_CHECKING:
    from mot_core.batch import ClipBatch
    from mot_core.trackers import Tracker

RESULTS = ROOT / "benchmarks/results/kernels_in_trackers.jsonl"
CASES: dict[str, dict[str, Any]] = {
    "MOTR, training step, small": {"tracker": "motr", "warm_up": 5, "steps": 40, **SMALL},
    "MOTIP, training step, small": {"tracker": "motip", "warm_up": 5, "steps": 40, **SMALL},
    "MOTIP, frame, small": {"tracker": "motip", "tracks": 5, "warm_up": 20, "steps": 200, **SMALL, "frames": 1},
}
PAPERS: dict[str, dict[str, Any]] = {
    "MOTR, training step, 5 frames": {
        "tracker": "motr", "checkpointing": True, "warm_up": 2, "steps": 10, "frames": 5, **PAPER
    },
    "MOTIP, training step, 30 frames, 4 with gradient": {
        "tracker": "motip", "checkpointing": True, "warm_up": 2, "steps": 10, "frames": 30, **PAPER
    },
    "MOTIP, frame": {"tracker": "motip", "tracks": 20, "warm_up": 20, "steps": 100, "frames": 1, **PAPER},
}  # fmt: skip
TOLERANCE = 2e-3  # of norms, as of the kernels alone


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table; 1 if before and after differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="by name; default: the small ones, on a GPU all")
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each kind; default: 3")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each case")
    parser.add_argument("--here", type=Path, help="measure the case in this process; for the script itself")
    options = parser.parse_args(arguments)
    if options.here:
        row, found = measure(**(CASES | PAPERS)[options.cases[0]])
        torch.save(found, options.here)
        print(json.dumps(row))
        return 0
    rows = []
    for case in options.cases or [*CASES, *(PAPERS if torch.cuda.is_available() else ())]:
        row = provenance(SOURCES) | compare(case, sides(options.before), options.repeats)
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        rows.append(row)
    print(table(rows))
    return 0 if all(row["error"] <= TOLERANCE for row in rows) else 1


def sides(before: Path | None) -> dict[str, dict[str, str]]:
    """What stands in the environment before and after, by what it is."""
    here = {"PYTHONPATH": str(ROOT / SOURCES.removesuffix("/mot_core")), "OMP_NUM_THREADS": "1"}
    if before is not None:
        there = here | {"PYTHONPATH": str(before.resolve() / SOURCES.removesuffix("/mot_core"))}
        return {f"commit {commit(before, SOURCES)}": there, f"commit {commit(ROOT, SOURCES)}": here}
    kernels = torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
    after = {"MOT_CORE_KERNELS": "triton"} if kernels else {}
    return {"reference": here | {"MOT_CORE_KERNELS": "reference"}, "kernels" if kernels else "default": here | after}


def compare(case: str, environments: dict[str, dict[str, str]], repeats: int) -> dict[str, Any]:
    """A row: milliseconds and memory of both sides, and how far their results lie apart."""
    rows: dict[str, list[dict[str, Any]]] = {side: [] for side in environments}
    results: dict[str, list[dict[str, Tensor]]] = {side: [] for side in environments}
    with TemporaryDirectory() as folder:
        for _ in range(repeats):
            for side, environment in environments.items():
                row, found = in_a_process(case, environment, Path(folder) / "found.pt")
                rows[side].append(row)
                results[side].append(found)
                print(case, side, row, flush=True)
    before, after = environments
    ms = {side: [row.pop("ms") for row in rows[side]] for side in environments}
    worst, error = difference(results[before][0], results[after][0])
    return {
        "case": case,
        **{name: rows[after][0][name] for name in ("device", "versions")},
        "before": {"what": before, "ms": ms[before], "peak_MB": rows[before][0]["peak_MB"]},
        "after": {"what": after, "ms": ms[after], "peak_MB": rows[after][0]["peak_MB"]},
        "ratio": round(median(b / a for b, a in zip(ms[before], ms[after], strict=True)), 3),
        "error": error,
        "worst": worst,
        # Additions in parallel have no order on a GPU.
        "error_of_before_with_itself": difference(results[before][0], results[before][-1])[1],
    }


def in_a_process(case: str, environment: dict[str, str], found: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    command = [sys.executable, "-W", "ignore", __file__, case, "--here", str(found)]
    inherited = {name: value for name, value in os.environ.items() if name != "MOT_CORE_KERNELS"}
    done = subprocess.run(command, capture_output=True, text=True, env=inherited | environment)
    if done.returncode:
        raise RuntimeError(f"{case}: {done.stderr.strip()}")
    row = json.loads(done.stdout.splitlines()[-1])
    if not Path(row.pop("code")).is_relative_to(environment["PYTHONPATH"]):
        raise RuntimeError(f"{case}: mot_core is not that of {environment['PYTHONPATH']}")
    return row, torch.load(found)


def measure(
    tracker: str,
    size: tuple[int, int],
    frames: int,
    objects: int,
    warm_up: int,
    steps: int,
    tracks: int = 0,
    checkpointing: bool = False,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Median milliseconds of a step, or of tracking a frame; and what came out first."""
    import mot_core

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    model, batch = build(tracker, size, frames, objects, checkpointing=checkpointing)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():  # some weights begin at zero, and what is behind them would not count
        for weight in model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=random)
    weights = torch.stack([weight.double().sum() for weight in model.parameters()])
    model, batch = model.to(device), batch.to(device)
    call, found = tracking(model, batch, tracks) if tracks else training(model, batch)
    for number in range(warm_up):
        call(number)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ms = [milliseconds(partial(call, warm_up + number), device) for number in range(steps)]
    row = {
        "ms": round(median(ms), 3),
        "peak_MB": round((torch.cuda.max_memory_allocated() if device == "cuda" else peak()) / 2**20),
        "device": torch.cuda.get_device_name() if device == "cuda" else "one thread of the CPU",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "code": mot_core.__file__,
    }
    return row, {"weights": weights} | {name: value.detach().cpu() for name, value in found.items()}


def training(model: Tracker, batch: ClipBatch) -> tuple[Callable[[int], object], dict[str, Tensor]]:
    """A step of a training (losses, backward, optimiser); the first losses and gradients."""
    optimizer = torch.optim.AdamW(model.parameter_groups(), fused=True)

    def losses(number: int) -> Tensor:
        values = torch.stack(list(model.losses(batch, step=number)[0].values()))
        values.sum().backward()
        return values

    def step(number: int) -> None:
        losses(number)
        optimizer.step()
        optimizer.zero_grad()

    found = {"losses": losses(0)}
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            found[f"gradient of {name}"] = weight.grad
    optimizer.zero_grad()
    return step, found


def tracking(model: Tracker, batch: ClipBatch, tracks: int) -> tuple[Callable[[int], object], dict[str, Tensor]]:
    """The next frame of a scene in which nothing moves, with so many detections; what is found in three frames.

    The weights are random: the best detections are taken, whatever their scores, and a word however improbable.
    """
    model.eval()
    model.setup()
    with torch.no_grad():
        output, _ = model.detect(batch.images[:, 0], batch.padding, model.plugins.start_clip(training=False))
    best = output.logits[-1].sigmoid().amax(-1).flatten().sort(descending=True).values
    model.detection_threshold = model.memory.newborn_threshold = best[tracks - 1 : tracks + 1].mean().item()
    model.memory.id_threshold = 0.0

    def track(number: int) -> Any:
        return model.track(replace(batch, times=torch.full_like(batch.times, number), targets=None))

    found = {"logits": output.logits, "boxes": output.boxes_cxcywh}
    for number in range(3):
        seen = track(number)
        found |= {f"{name} in frame {number}": getattr(seen, name).float() for name in ("ids", "boxes_xyxy", "scores")}
    return track, found


def milliseconds(call: Callable[[], object], device: str) -> float:
    """Of a call: between two events of the GPU, or CPU time."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)
    begun = time.process_time()
    call()
    return 1e3 * (time.process_time() - begun)


def difference(before: dict[str, Tensor], after: dict[str, Tensor]) -> tuple[str, float]:
    """What differs most, and how far: norm of the difference over the norm.

    Gradients that are nearly zero (of biases before a softmax, say) are compared with a thousandth of the largest.
    """
    if before.keys() != after.keys():
        return f"there or not: {', '.join(sorted(before.keys() ^ after.keys()))}", float("inf")
    if not torch.equal(before["weights"], after["weights"]):
        return "weights", float("inf")
    norms = {name: value.double().norm().item() for name, value in before.items()}
    floor = 1e-3 * max((norm for name, norm in norms.items() if name.startswith("gradient")), default=0.0)
    errors = {}
    for name, value in before.items():
        other = after[name]
        apart = (value.double() - other.double()).norm().item() if value.shape == other.shape else float("inf")
        least = floor if name.startswith("gradient") else 1e-30
        errors[name] = apart / max(norms[name], least) if apart == apart else float("inf")
    worst = max(errors, key=lambda name: errors[name])
    return worst, errors[worst]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    first = rows[0]
    lines = [
        f"{first['device']}, {first['date']}, torch {first['versions']['torch']}; before: {first['before']['what']}, "
        f"after: {first['after']['what']}",
        "",
        "| case | before, ms | after, ms | times as fast | memory, MB | difference | before with itself |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        before, after = row["before"], row["after"]
        lines.append(
            f"| {row['case']} | {median(before['ms']):.1f} | {median(after['ms']):.1f} | {row['ratio']:.2f} "
            f"| {before['peak_MB']:,}, {after['peak_MB']:,} | {row['error']:.1e} ({row['worst']}) "
            f"| {row['error_of_before_with_itself']:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
