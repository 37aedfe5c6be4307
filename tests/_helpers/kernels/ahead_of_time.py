"""Ahead-of-time compilation of kernels for GPUs that may be absent, and resources of the machine code."""

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

TARGETS = {"sm_80": 80, "sm_90": 90, "sm_100": 100}
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
TYPES = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.uint8: "*u8",
    torch.int64: "*i64",
}


@contextmanager
def recorded_launches():
    """Yield a list that receives (kernel, arguments by name, options) of every launch inside; without running them."""
    launches = []

    def record(kernel, *arguments, grid, warmup, **named):
        bound = dict(zip(kernel.arg_names, arguments, strict=False))
        options = {name: named.pop(name) for name in ("num_warps", "enable_fp_fusion") if name in named}
        launches.append((kernel, bound | named, options))

    original, JITFunction.run = JITFunction.run, record
    try:
        yield launches
    finally:
        JITFunction.run = original


def resources(kernel, arguments, options, target, folder):
    """Return registers per thread, shared memory per program and spilled memory per thread, in bytes."""
    signature, constants, attributes = {}, {}, {}
    for position, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name], constants[(position,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            attributes[(position,)] = [["tt.divisibility", 16]]  # alignment of allocated tensors
        elif isinstance(value, tuple):
            signature[parameter.name] = tuple("fp32" for _ in value)
        elif value is None or value == 1:
            signature[parameter.name], constants[(position,)] = "constexpr", value
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            if isinstance(value, int) and value % 16 == 0:
                attributes[(position,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", TARGETS[target], 32), options=options)
    binary = folder / "kernel.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    output = subprocess.run([CUOBJDUMP, "-res-usage", binary], capture_output=True, text=True, check=True).stdout
    usage = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", output)}
    return {
        "registers": usage["REG"],
        "shared_bytes": compiled.metadata.shared,
        "spilled_bytes": usage["STACK"] + usage["LOCAL"],
    }
