"""Speed, memory and share of the roofline of the GPU kernels, compared with eager and compiled PyTorch."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor

from mot_core.bench.cases import CASES, Case
from mot_core.io.atomic import open_atomic
from mot_core.ops import choice

COPIED_BYTES = 1 << 30  # many times larger than the cache of any GPU


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the benchmark to a parser."""
    parser.add_argument("--json", metavar="FILE", help="write all numbers as JSON to FILE")
    parser.add_argument("--only", metavar="TEXT", default="", help="measure only operations with TEXT in their name")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile, which takes minutes")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table and write JSON; return 2 without GPU or triton, 1 for a wrong result, else 0."""
    if not torch.cuda.is_available():
        print("bench kernels: expected a GPU that PyTorch can use, found none", file=sys.stderr)
        return 2
    if not choice.HAS_TRITON:
        print("bench kernels: triton is not installed; run: pip install './packages/mot-core[triton]'", file=sys.stderr)
        return 2
    cases = [case for case in CASES if arguments.only in case.name]
    report = report_on(cases, compiled=not arguments.no_compile)
    print(table(report))
    if arguments.json:
        with open_atomic(arguments.json) as file:
            file.write(json.dumps(report, indent=1) + "\n")
    return 0 if all(row["error"] <= row["tolerance"] for row in report["results"]) else 1


def report_on(cases: list[Case], compiled: bool = True) -> dict[str, Any]:
    """Return the machine, its measured bandwidth and one row per case."""
    import triton

    bandwidth = copy_bandwidth()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "gpu": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__},
        "copy_gb_per_s": round(bandwidth / 1e9, 1),
        "results": [measure(case, bandwidth, event_ms, compiled=compiled) for case in with_progress(cases)],
    }


def with_progress(cases: Sequence[Case]) -> Iterator[Case]:
    """Print the name of each case to stderr before yielding it, because compiling takes long."""
    for number, case in enumerate(cases, 1):
        print(f"bench kernels: {number} of {len(cases)}: {case.name}", file=sys.stderr, flush=True)
        yield case


def measure(
    case: Case,
    bandwidth: float,
    timer: Callable[[Callable[[], object]], float],
    *,
    compiled: bool = True,
    device: str = "cuda",
) -> dict[str, Any]:
    """Measure the forward pass, and both passes, in milliseconds for every implementation.

    Args:
        case: Operation to measure.
        bandwidth: Copy bandwidth of the device in bytes per second.
        timer: Function that returns the median milliseconds of a call.
        compiled: Whether to measure torch.compile of the reference too.
        device: Device to run on.
    """
    torch.manual_seed(0)
    inputs = case.inputs(device)
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    gradient = torch.randn_like(case.call(*inputs))
    row: dict[str, Any] = {"case": case.name, "target": case.target}
    results = {}
    for name in ("eager", "compiled", "kernel"):
        if name == "compiled" and not compiled:
            continue
        call = torch.compile(case.call) if name == "compiled" else case.call
        with chosen("triton" if name == "kernel" else "reference"):

            def both(call: Callable[..., Tensor] = call) -> list[Tensor]:
                result = call(*leaves)
                return [result.detach(), *torch.autograd.grad(result, leaves, gradient, materialize_grads=True)]

            def forward(call: Callable[..., Tensor] = call) -> Tensor:
                return call(*inputs)

            results[name] = both()
            with torch.no_grad():
                row[f"{name}_forward_ms"] = timer(forward)
            row[f"{name}_both_ms"] = timer(both)
            row[f"{name}_peak_bytes"] = peak_bytes(both) if device == "cuda" else 0
    half = any(one.dtype in (torch.float16, torch.bfloat16) for one in inputs)
    row["error"] = max(_difference(*pair) for pair in zip(results["kernel"], results["eager"], strict=True))
    row["tolerance"] = 2e-2 if half else 2e-3  # between two implementations that both round
    read = sum(one.nbytes for one in inputs) if case.bytes_read is None else case.bytes_read
    row["bytes"] = read + results["kernel"][0].nbytes
    row["floor_ms"] = 1e3 * row["bytes"] / bandwidth
    row["share_of_floor"] = row["floor_ms"] / row["kernel_forward_ms"]
    row["speed_up_forward"] = row["eager_forward_ms"] / row["kernel_forward_ms"]
    row["speed_up"] = row["eager_both_ms"] / row["kernel_both_ms"]
    return row


def table(report: dict[str, Any]) -> str:
    """Format the report as a Markdown table."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        f"{report['gpu']}, {report['date']}, {versions}; a copy moves {report['copy_gb_per_s']:,} GB/s",
        "",
        "| operation | kernel forward, ms | share of floor | forward + backward, ms | eager | compiled | times eager "
        "| target | memory, MB | eager, MB | error |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["results"]:
        compiled = f"{row['compiled_both_ms']:.3f}" if "compiled_both_ms" in row else "-"
        lines.append(
            f"| {row['case']} | {row['kernel_forward_ms']:.3f} | {row['share_of_floor']:.0%} "
            f"| {row['kernel_both_ms']:.3f} | {row['eager_both_ms']:.3f} | {compiled} | {row['speed_up']:.1f} "
            f"| {row['target']:g} | {row['kernel_peak_bytes'] / 1e6:,.1f} | {row['eager_peak_bytes'] / 1e6:,.1f} "
            f"| {row['error']:.1e} |"
        )
    return "\n".join(lines)


@contextmanager
def chosen(implementation: str) -> Iterator[None]:
    """Run operations with one implementation, regardless of the environment."""
    before = choice.CHOICE
    choice.CHOICE = implementation
    try:
        yield
    finally:
        choice.CHOICE = before


def event_ms(call: Callable[[], object]) -> float:
    """Return the median time of a call by device events; the cache is cleared before every run."""
    from triton.testing import do_bench

    return float(do_bench(call, warmup=50, rep=300, return_mode="median"))


def copy_bandwidth() -> float:
    """Return the bytes per second, read and written, of a large copy on the device."""
    source = torch.randn(COPIED_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / (event_ms(lambda: target.copy_(source)) / 1e3)


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the peak memory of a call beyond the memory allocated before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Return the relative norm of the difference; infinity for NaN, which never passes."""
    error = (found.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-30)
    return error.item() if error.isfinite() else float("inf")
