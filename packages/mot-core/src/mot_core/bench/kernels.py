"""Speed, memory and share of the roofline of the GPU kernels, beside the PyTorch reference eager and compiled."""

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

COPIED_BYTES = 1 << 30  # many times the cache of any GPU


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the benchmark."""
    parser.add_argument("--json", metavar="FILE", help="write all numbers as JSON")
    parser.add_argument("--only", metavar="TEXT", default="", help="only operations whose name holds this")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, write JSON; 2 where there is no GPU or no triton, 1 for a wrong result."""
    if not torch.cuda.is_available():
        print("bench kernels: no GPU that PyTorch can use was found, so there is nothing to measure", file=sys.stderr)
        return 2
    if not choice.HAS_TRITON:
        print("bench kernels: triton is not installed: pip install './packages/mot-core[triton]'", file=sys.stderr)
        return 2
    cases = [case for case in CASES if arguments.only in case.name]
    report = report_on(cases, compiled=not arguments.no_compile)
    print(table(report))
    if arguments.json:
        with open_atomic(arguments.json) as file:
            file.write(json.dumps(report, indent=1) + "\n")
    return 0 if all(row["error"] <= row["tolerance"] for row in report["results"]) else 1


def report_on(cases: list[Case], compiled: bool = True) -> dict[str, Any]:
    """Machine, measured bandwidth and one row for every case."""
    import triton

    bandwidth = copy_bandwidth()
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "gpu": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__},
        "copy_gb_per_s": round(bandwidth / 1e9, 1),
        "results": [measure(case, bandwidth, event_ms, compiled=compiled) for case in told(cases)],
    }


def told(cases: Sequence[Case]) -> Iterator[Case]:
    """Says on stderr which case comes; compiling takes long."""
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
    """Milliseconds of the forward pass and of both passes by implementation, and how they relate.

    Args:
        case: what to compute.
        bandwidth: bytes per second that the device copies.
        timer: gives the median milliseconds of a call.
        compiled: also torch.compile of the reference.
        device: where.
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
    row["tolerance"] = 2e-2 if half else 2e-3  # of two implementations, neither of them exact
    read = sum(one.nbytes for one in inputs) if case.bytes_read is None else case.bytes_read
    row["bytes"] = read + results["kernel"][0].nbytes
    row["floor_ms"] = 1e3 * row["bytes"] / bandwidth
    row["share_of_floor"] = row["floor_ms"] / row["kernel_forward_ms"]
    row["speed_up_forward"] = row["eager_forward_ms"] / row["kernel_forward_ms"]
    row["speed_up"] = row["eager_both_ms"] / row["kernel_both_ms"]
    return row


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
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
    """Runs operations by one implementation, whatever the environment says."""
    before = choice.CHOICE
    choice.CHOICE = implementation
    try:
        yield
    finally:
        choice.CHOICE = before


def event_ms(call: Callable[[], object]) -> float:
    """Median by events of the device; the cache is emptied before every run."""
    from triton.testing import do_bench

    return float(do_bench(call, warmup=50, rep=300, return_mode="median"))


def copy_bandwidth() -> float:
    """Bytes per second, read and written, of a large copy on the device."""
    source = torch.randn(COPIED_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / (event_ms(lambda: target.copy_(source)) / 1e3)


def peak_bytes(call: Callable[[], object]) -> int:
    """Memory that a call takes at most beyond what was taken before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm; not a number never passes."""
    error = (found.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-30)
    return error.item() if error.isfinite() else float("inf")
