"""Time and memory of the UniTrack loss: alone, compared with a plain loop and NT-Xent, and in a training step of MOTR.

    python -m benchmarks.unitrack.cost              # all parts
    python -m benchmarks.unitrack.cost growth motr  # some of them

CPU seconds of forward and backward on one thread. Each part runs in separate processes. Writes
the measured parts to ``results/unitrack/cost.json``. The loop is the reference of the tests; NT-Xent is that of
pytorch-metric-learning, in its own environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import PEERS, install, python_of
from benchmarks.fresh_process import EXACT_MEMORY, in_fresh_process
from benchmarks.provenance import RESULTS_FOLDER, SOURCES, TESTS, provenance
from benchmarks.training.step_cost import build

MODULE = "benchmarks.unitrack.cost"

LOSS = "packages/unitrack-loss/src/unitrack_loss"
PEER = "metric_learning"
CHANNELS, RUNS = 256, 7
# (detections per frame, frames); every slot is an object.
BY_DETECTIONS = [(10, 5), (30, 5), (100, 5), (300, 5), (1000, 5)]
BY_FRAMES = [(300, frames) for frames in (2, 3, 4, 5, 6, 8)]
LOOPED = [(10, 5), (30, 5), (100, 5)]  # larger cases take minutes
CONTRASTED = [(10, 5), (30, 5), (100, 5), (300, 5)]  # with 1,000, NT-Xent compares 10^9 pairs of pairs
IDENTITY = [(30, 5), (100, 5), (300, 2), (300, 5), (300, 8)]
COMPILED = [(30, 5), (100, 5), (300, 5)]
# A quarter of the paper's height and width, and its 300 queries.
MOTR = {
    "paper, a sixteenth of the pixels": {
        "size": (200, 360),
        "objects": 20,
        "frames": 5,
        "steps": 2,
        "checkpointing": True,
    },
    "small": {"size": (96, 160), "objects": 5, "frames": 5, "steps": 20, "checkpointing": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--here", help="measure in this process and print; used internally")
    arguments = parser.parse_args()
    if arguments.here:
        name, *rest = json.loads(arguments.here)
        print(json.dumps(MEASURES[name](*rest)))
        return
    path = RESULTS_FOLDER / "unitrack/cost.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"threads": 1, "runs": RUNS}
    for part in arguments.parts:
        where = provenance(LOSS, f"{SOURCES}/trackers")
        report[part] = {**where, "found": PARTS[part]()}
        print(part, json.dumps(report[part], indent=1), flush=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


def growth() -> dict[str, Any]:
    """Measure time and memory by detections and by frames, and their growth exponents."""
    cases = list(dict.fromkeys([*BY_DETECTIONS, *BY_FRAMES]))
    rows = in_fresh_process(MODULE, "seconds", cases)
    memory = in_fresh_process(MODULE, "memory", cases, exact_memory=True)
    for row, megabytes in zip(rows, memory, strict=True):
        row["peak_MB"] = megabytes
    by_case = {(row["detections"], row["frames"]): row for row in rows}

    def steps(series: Sequence[tuple[int, int]], axis: int, key: str) -> dict[str, float]:
        return {
            f"{a[axis]} to {b[axis]}": round(log(by_case[b][key] / by_case[a][key]) / log(b[axis] / a[axis]), 2)
            for a, b in pairwise(series)
        }

    ends = [BY_FRAMES[0], BY_FRAMES[-1]]
    return {
        "rows": rows,
        "exponent_of_seconds_in_detections": steps(BY_DETECTIONS, 0, "forward_backward_s"),
        "exponent_of_memory_in_detections": steps(BY_DETECTIONS[2:], 0, "peak_MB"),
        "exponent_of_seconds_in_frames": steps(ends, 1, "forward_backward_s"),
        "exponent_of_memory_in_frames": steps(ends, 1, "peak_MB"),
    }


def identity() -> list[dict[str, Any]]:
    """Measure time and memory of the default formulation, whose pairs grow with the square of the frames."""
    rows = in_fresh_process(MODULE, "identity_seconds", IDENTITY)
    memory = in_fresh_process(MODULE, "identity_memory", IDENTITY, exact_memory=True)
    return [{**row, "peak_MB": megabytes} for row, megabytes in zip(rows, memory, strict=True)]


def loops() -> list[dict[str, Any]]:
    """Compare the loss with the reference loop of the tests, which has no backward."""
    return in_fresh_process(MODULE, "loops", LOOPED)


def contrastive() -> dict[str, Any]:
    """Compare with NT-Xent on the same embeddings, between consecutive frames, in turn."""
    failure = install(PEER)
    if failure is not None:
        return {"unavailable": failure.splitlines()[-1]}
    rows = []
    for detections, frames in CONTRASTED:
        ours = in_fresh_process(MODULE, "seconds", [(detections, frames)])[0]["forward_backward_s"]
        command = [str(python_of(PEER)), str(PEERS / f"{PEER}.py"), str(detections), str(frames), str(CHANNELS)]
        found = {}
        for env in ({}, EXACT_MEMORY):  # exact memory is slower, so seconds come from the first run
            env = os.environ | {"OMP_NUM_THREADS": "1"} | env
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
            found = json.loads(done.stdout.splitlines()[-1]) | {k: v for k, v in found.items() if k == "ntxent_s"}
        rows.append({"unitrack_s": ours, **found})
    return {"rows": rows}


def motr() -> list[dict[str, Any]]:
    """Measure a training step of MOTR without and with the loss, and the loss alone on the output of MOTR."""
    rows = []
    for case in MOTR:
        without, with_it = (in_fresh_process(MODULE, "step", case, loss, exact_memory=True) for loss in (False, True))
        alone = with_it.pop("loss")
        rows.append({
            "case": case, **MOTR[case], "without": without, "with": with_it, "loss": alone,
            "share_of_seconds": round(alone["seconds"] / without["seconds"], 5),
        })  # fmt: skip
    path = RESULTS_FOLDER / "training/step_cost.json"
    recorded = {row["case"]: row for row in json.loads(path.read_text())["results"]}
    if paper := recorded.get("motr, 5 frames, checkpointing"):
        rows.append({
            "case": f"paper, as recorded in {path.name}", "without": {"seconds": paper["cpu_s_per_step"]},
            "share_of_seconds": round(rows[0]["loss"]["seconds"] / paper["cpu_s_per_step"], 6),
        })  # fmt: skip
    return rows


def compiled() -> dict[str, Any]:
    """Measure the loss as one compiled graph, for any number of detections."""
    return in_fresh_process(MODULE, "compiled", COMPILED)


def profile() -> list[dict[str, Any]]:
    """Measure the possible saving of a flow kernel: launches and bytes of flow, loss and a step of MOTR."""
    return [{"case": case, **MOTR[case], **in_fresh_process(MODULE, "profile", case)} for case in MOTR]


def measure_seconds(cases: Sequence[tuple[int, int]], preset: str = "paper") -> list[dict[str, Any]]:
    rows = []
    for detections, frames in cases:
        step, forward = make_step(detections, frames, preset=preset)
        step()
        row = {"detections": detections, "frames": frames, "channels": CHANNELS}
        rows.append(row | {"forward_s": timed(forward), "forward_backward_s": timed(step)})
    return rows


def measure_memory(cases: Sequence[tuple[int, int]], preset: str = "paper") -> list[float]:
    make_step(4, 3, preset=preset)[0]()  # trigger lazy imports
    return [added_megabytes(make_step(detections, frames, preset=preset)[0]) for detections, frames in cases]


def measure_loops(cases: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    sys.path.insert(0, str(TESTS))
    from _helpers.unitrack_reference import reference

    rows = []
    for detections, frames in cases:
        clip = make_clip(detections, frames)
        step, forward = make_step(detections, frames)
        step()
        loop, ours = timed(lambda clip=clip: reference(clip), 1), timed(forward)
        rows.append({
            "detections": detections, "frames": frames, "loop_forward_s": loop, "forward_s": ours,
            "forward_backward_s": timed(step), "speed_up_of_forward": round(loop / ours),
            "loop_forward_MB": added_megabytes(lambda clip=clip: reference(clip)),
            "forward_backward_MB": added_megabytes(step),
        })  # fmt: skip
    return rows


def measure_compiled(cases: Sequence[tuple[int, int]]) -> dict[str, Any]:
    import torch

    start = time.process_time()
    rows = []
    for number, (detections, frames) in enumerate(cases):
        plain, fast = make_step(detections, frames)[0], make_step(detections, frames, compile_it=True)[0]
        plain(), fast()
        if number == 1:  # the second size makes the number of detections symbolic; later sizes do not recompile
            compile_s = round(time.process_time() - start, 1)
            torch._dynamo.config.error_on_recompile = True
        rows.append({
            "detections": detections, "frames": frames, "forward_backward_s": timed(plain), "compiled_s": timed(fast)
        })  # fmt: skip
    return {"compile_s": compile_s, "rows": rows}


def measure_step(case: str, with_loss: bool) -> dict[str, Any]:
    """Return median CPU seconds of a training step, and the memory it adds."""
    import torch

    from unitrack_loss import UniTrackLoss, UniTrackPlugin, track_clip

    torch.set_num_threads(1)
    plan = MOTR[case]
    model, batch = build("motr", plan["size"], plan["frames"], plan["objects"], checkpointing=plan["checkpointing"])
    if with_loss:  # every query is a detection
        model.attach(UniTrackPlugin(preset="paper", warmup_steps=0, min_score=0.0, report_every=10**6))
    optimizer = torch.optim.AdamW(model.parameter_groups(), fused=True)

    def step(number: int) -> None:
        losses, _ = model.losses(batch, step=number)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    cpu: list[float] = []

    def steps() -> None:
        for number in range(plan["steps"]):
            start = time.process_time()
            step(number + 1)  # skip step 0, in which the plug-in measures gradients
            cpu.append(time.process_time() - start)

    added = added_megabytes(steps)
    row: dict[str, Any] = {"seconds": round(median(cpu), 4), "all_seconds": [round(one, 3) for one in cpu]}
    row["added_MB"] = added
    if with_loss:
        _, output = model.losses(batch)
        found = track_clip(output, min_score=0.0)
        names = ("boxes_xyxy", "logits", "embed")
        leaves = {name: getattr(found, name).detach().requires_grad_() for name in names}
        clip, loss = replace(found, **leaves), UniTrackLoss("paper")

        def alone() -> None:
            track_clip(output, min_score=0.0)
            torch.autograd.grad(loss(clip).total, [*leaves.values()])

        alone()
        row["loss"] = {"seconds": timed(alone), "detections": clip.valid.shape[2], "added_MB": added_megabytes(alone)}
    return row


def measure_profile(case: str) -> dict[str, Any]:
    """Return CPU seconds, launches and bytes of a step of MOTR, of the loss on its output, and of the flow alone."""
    import torch

    from benchmarks.kernels.roofline import Counting
    from unitrack_loss import UniTrackLoss, flow, track_clip

    torch.set_num_threads(1)
    plan = MOTR[case]
    model, batch = build("motr", plan["size"], plan["frames"], plan["objects"], checkpointing=plan["checkpointing"])
    optimizer = torch.optim.AdamW(model.parameter_groups(), fused=True)

    def step() -> Any:
        losses, output = model.losses(batch)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return output

    found = track_clip(step(), min_score=0.0)
    names = ("boxes_xyxy", "logits", "embed")
    leaves = {name: getattr(found, name).detach().requires_grad_() for name in names}
    clip, loss = replace(found, **leaves), UniTrackLoss("paper")

    def flow_alone() -> None:
        made = flow(clip)
        tensors = made.flow, made.log_flow, made.log_links
        torch.autograd.grad(tensors, [leaves["logits"], leaves["embed"]], [torch.ones_like(one) for one in tensors])

    parts = {
        "step": step,
        "loss": lambda: torch.autograd.grad(loss(clip).total, [*leaves.values()]),
        "flow": flow_alone,
    }
    row: dict[str, Any] = {"detections": clip.valid.shape[2]}
    for name, call in parts.items():
        call()
        with Counting() as counting:
            call()
        row[name] = {"cpu_s": timed(call, plan["steps"]), **counting.work.summary()}
        row[name]["products_alone_H200_ms"] = counting.work.products().summary()["H200_ms"]
    return row


def make_clip(detections: int, frames: int) -> Any:
    """Return random boxes, identities and embeddings with every slot filled."""
    sys.path.insert(0, str(TESTS))
    import torch

    from _helpers.unitrack_clips import noisy

    torch.set_num_threads(1)
    clip = noisy(1, frames, detections, detections, "boxes", dtype=torch.float32)
    # The peer draws the same numbers.
    embed = torch.randn(1, frames, detections, CHANNELS, generator=torch.Generator().manual_seed(0))
    return replace(clip, embed=embed, valid=torch.ones_like(clip.valid))


def make_step(
    detections: int, frames: int, compile_it: bool = False, preset: Any = "paper"
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Time forward with backward, and forward alone."""
    import torch

    from unitrack_loss import UniTrackLoss

    clip = make_clip(detections, frames)
    leaves = [one.requires_grad_() for one in (clip.boxes_xyxy, clip.logits, clip.embed)]
    loss = UniTrackLoss(preset)
    call = torch.compile(loss, fullgraph=True) if compile_it else loss
    return lambda: torch.autograd.grad(call(clip).total, leaves), lambda: call(clip)


def timed(call: Callable[[], object], runs: int = RUNS) -> float:
    """Return median CPU seconds."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return round(median(seconds), 5)


def added_megabytes(call: Callable[[], object]) -> float:
    """Return the peak increase of the resident memory of this process (Linux)."""
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    call()
    return round((memory("VmHWM") - before) / 1024, 1)


def memory(field: str) -> int:
    """KiB."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


PARTS: dict[str, Callable[[], Any]] = {
    "growth": growth,
    "identity": identity,
    "loops": loops,
    "contrastive": contrastive,
    "motr": motr,
    "compiled": compiled,
    "profile": profile,
}
MEASURES: dict[str, Callable[..., Any]] = {
    "seconds": measure_seconds,
    "memory": measure_memory,
    "identity_seconds": lambda cases: measure_seconds(cases, "identity"),
    "identity_memory": lambda cases: measure_memory(cases, "identity"),
    "loops": measure_loops,
    "compiled": measure_compiled,
    "step": measure_step,
    "profile": measure_profile,
}

if __name__ == "__main__":
    main()
