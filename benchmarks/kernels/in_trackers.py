"""Effect of the kernels on trackers: training steps of MOTR and MOTIP and a frame of MOTIP, before and after.

    python -m benchmarks.kernels.in_trackers                      # MOT_CORE_KERNELS=reference, then the default
    python -m benchmarks.kernels.in_trackers --before CHECKOUT    # the code of another checkout, then of this one

Before and after are two processes with the same weights that take turns, a few steps each. On a GPU, the second one
uses the kernels, and the sizes of the papers are measured too; on a CPU, both use the reference. Times are from CUDA
events, or CPU time of one thread. The first losses and gradients, or tracks, are compared; the exit code is 1 if they
differ. The checkout need not be installed; its code needs torch, triton, lightning, torchmetrics, numpy, scipy, einops,
rich, pyyaml and pillow. Appends a line for each case to ``results/kernels/in_trackers.jsonl``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.fresh_process import peak
from benchmarks.provenance import RESULTS_FOLDER, ROOT, SOURCES, commit, provenance
from benchmarks.training.step_cost import PAPER, SMALL, build

if TYPE_CHECKING:
    from mot_core.nn import DetectorOutput
    from mot_core.structures import ClipBatch
    from mot_core.trackers import Tracker

RESULTS = RESULTS_FOLDER / "kernels/in_trackers.jsonl"
CASES: dict[str, dict[str, Any]] = {
    "MOTR, training step, small": {"tracker": "motr", "warm_up": 5, "steps": 5, **SMALL},
    "MOTIP, training step, small": {"tracker": "motip", "warm_up": 5, "steps": 5, **SMALL},
    "MOTIP, frame, small": {"tracker": "motip", "tracks": 5, "warm_up": 40, "steps": 20, **SMALL, "frames": 1},
}
PAPERS: dict[str, dict[str, Any]] = {
    "MOTR, training step, 5 frames": {
        "tracker": "motr", "checkpointing": True, "warm_up": 3, "steps": 2, "frames": 5, **PAPER
    },
    "MOTIP, training step, 30 frames, 4 with gradient": {
        "tracker": "motip", "checkpointing": True, "warm_up": 2, "steps": 1, "frames": 30, **PAPER
    },
    "MOTIP, frame": {"tracker": "motip", "tracks": 20, "warm_up": 40, "steps": 10, "frames": 1, **PAPER},
}  # fmt: skip
TOLERANCE = 2e-3  # relative difference of norms, as for single kernels


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table; return 1 if before and after differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="cases by name; default: the small ones, on a GPU all")
    parser.add_argument("--before", type=Path, help="checkout of another commit to compare with")
    parser.add_argument("--turns", type=int, default=20, help="turns of each process; default: 20")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each case")
    parser.add_argument("--here", type=Path, help="measure the case in this process; used internally")
    options = parser.parse_args(arguments)
    if options.here:
        serve(options.cases[0], options.here)
        return 0
    rows = []
    for case in options.cases or [*CASES, *(PAPERS if torch.cuda.is_available() else ())]:
        row = provenance(SOURCES) | compare(case, sides(options.before), options.turns)
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        rows.append(row)
    print(table(rows))
    return 0 if all(row["error"] <= TOLERANCE for row in rows) else 1


def sides(before: Path | None) -> dict[str, dict[str, str]]:
    """Return the environment variables of both sides, by name of the side."""
    here = {"PYTHONPATH": str(ROOT / SOURCES.removesuffix("/mot_core")), "OMP_NUM_THREADS": "1"}
    if before is not None:
        there = here | {"PYTHONPATH": str(before.resolve() / SOURCES.removesuffix("/mot_core"))}
        return {f"commit {commit(before, SOURCES)}": there, f"commit {commit(ROOT, SOURCES)}": here}
    kernels = torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
    after = {"MOT_CORE_KERNELS": "triton"} if kernels else {}
    return {"reference": here | {"MOT_CORE_KERNELS": "reference"}, "kernels" if kernels else "default": here | after}


def compare(case: str, environments: dict[str, dict[str, str]], turns: int) -> dict[str, Any]:
    """Return a row: milliseconds of every turn, memory of both sides, and the difference of their results."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        files = {side: folder / str(number) for number, side in enumerate(environments)}
        running = {
            side: stack.enter_context(Side(case, environment, files[side]))
            for side, environment in environments.items()
        }
        taken = [{side: process.answer() for side, process in running.items()} for _ in range(turns)]
        before, after = environments
        worst, error = difference(*(torch.load(files[side]) for side in environments))
    row = {"case": case, **running[after].about}
    for name, side in (("before", before), ("after", after)):
        row[name] = {"what": side, "ms": [turn[side]["ms"] for turn in taken], "peak_MB": taken[-1][side]["peak_MB"]}
    ratios = [turn[before]["ms"] / turn[after]["ms"] for turn in taken]
    row["times_as_fast"] = [round(share, 3) for share in quantiles(ratios, n=4)]  # quartiles
    row |= {"error": error, "worst": worst, "error_of_before_with_itself": running[before].unrest}
    print(row, flush=True)
    return row


class Side:
    """A process that measures a case on request."""

    def __init__(self, case: str, environment: dict[str, str], found: Path) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.kernels.in_trackers", case, "--here", str(found)]
        inherited = {name: value for name, value in os.environ.items() if name != "MOT_CORE_KERNELS"}
        self.case, self.errors = case, found.with_suffix(".log").open("w+")
        self.process = subprocess.Popen(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            env=inherited | environment,
        )
        self.about = self.answer()
        self.unrest = self.about.pop("unrest")
        if not Path(self.about.pop("code")).is_relative_to(environment["PYTHONPATH"]):
            self.__exit__()
            raise RuntimeError(f"{case}: mot_core is not that of {environment['PYTHONPATH']}")

    def answer(self) -> dict[str, Any]:
        """Return first the description of the measurement, then the numbers of one turn per call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write("go on\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            reason = self.errors.read().strip()
            self.__exit__()
            raise RuntimeError(f"{self.case}: {reason}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):
            self.process.communicate()
        self.errors.close()


def serve(case: str, found: Path) -> None:
    """The other end of :class:`Side`."""
    turns = measure(**(CASES | PAPERS)[case])
    about, tensors = next(turns)
    torch.save(tensors, found)
    for _, row in zip(sys.stdin, itertools.chain([about], turns), strict=False):  # wait for the request, then measure
        print(json.dumps(row), flush=True)


def measure(
    tracker: str,
    size: tuple[int, int],
    frames: int,
    objects: int,
    warm_up: int,
    steps: int,
    tracks: int = 0,
    checkpointing: bool = False,
) -> Iterator[Any]:
    """Yield the description and first result, then the milliseconds of a step or frame per turn."""
    import mot_core

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    model, batch = build(tracker, size, frames, objects, checkpointing=checkpointing)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():  # some weights start at zero and would hide everything behind them
        for weight in model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=random)
    weights = torch.stack([weight.double().sum() for weight in model.parameters()])
    model, batch = model.to(device), batch.to(device)
    call, first = tracking(model, batch, tracks) if tracks else training(model, batch)
    found, again = ({"weights": weights} | {name: value.cpu() for name, value in first().items()} for _ in range(2))
    for number in range(warm_up):
        call(number)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    about = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "one thread of the CPU",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "code": mot_core.__file__,
        "unrest": difference(found, again)[1],  # parallel additions on a GPU have no fixed order
    }
    yield about, found
    for start in itertools.count(warm_up, steps):
        ms = [milliseconds(partial(call, start + number), device) for number in range(steps)]
        memory = torch.cuda.max_memory_allocated() if device == "cuda" else peak()
        yield {"ms": round(median(ms), 3), "peak_MB": round(memory / 2**20)}


def training(model: Tracker, batch: ClipBatch) -> tuple[Callable[[int], object], Callable[[], dict[str, Tensor]]]:
    """Return a training step (losses, backward, optimizer), and losses and gradients of the first one."""
    optimizer = torch.optim.AdamW(model.parameter_groups(), fused=True)

    def losses(number: int) -> Tensor:
        values = torch.stack(list(model.losses(batch, step=number)[0].values()))
        values.sum().backward()
        return values.detach()

    def step(number: int) -> None:
        losses(number)
        optimizer.step()
        optimizer.zero_grad()

    def first() -> dict[str, Tensor]:
        found = {"losses": losses(0)}
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                found[f"gradient of {name}"] = weight.grad
        optimizer.zero_grad()
        return found

    return step, first


def tracking(
    model: Tracker, batch: ClipBatch, tracks: int
) -> tuple[Callable[[int], object], Callable[[], dict[str, Tensor]]]:
    """Return a call that tracks the next frame of a static scene, and the tracks of three frames.

    Weights are random, so the best detections and words are used whatever their scores.
    """
    model.eval()
    model.setup()

    @torch.no_grad()
    def detect() -> DetectorOutput:
        return model.detect(batch.images[:, 0], batch.padding, model.plugins.start_clip(training=False))[0]

    best = detect().logits[-1].sigmoid().amax(-1).flatten().sort(descending=True).values
    model.detection_threshold = model.memory.newborn_threshold = best[tracks - 1 : tracks + 1].mean().item()
    model.memory.id_threshold = 0.0

    def track(number: int) -> Any:
        return model.track(replace(batch, times=torch.full_like(batch.times, number), targets=None))

    def first() -> dict[str, Tensor]:
        output = detect()
        found = {"logits": output.logits, "boxes": output.boxes_cxcywh}
        for number in range(3):
            seen = vars(track(number))
            found |= {f"{name} in frame {number}": seen[name].float() for name in ("ids", "boxes_xyxy", "scores")}
        return found

    return track, first


def milliseconds(call: Callable[[], object], device: str) -> float:
    """Return the milliseconds of a call, between two CUDA events or in CPU time."""
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
    """Return the tensor that differs most, and the norm of its difference divided by its norm.

    Gradients near zero (of biases before a softmax, for example) are compared with a thousandth of the largest.
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
    """Return the rows as a Markdown table."""
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
            f"| {row['case']} | {median(before['ms']):.1f} | {median(after['ms']):.1f} "
            f"| {row['times_as_fast'][1]:.2f} ({row['times_as_fast'][0]:.2f} to {row['times_as_fast'][2]:.2f}) "
            f"| {before['peak_MB']:,}, {after['peak_MB']:,} | {row['error']:.1e} ({row['worst']}) "
            f"| {row['error_of_before_with_itself']:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
