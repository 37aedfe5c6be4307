"""Estimate the minimum cost of PyTorch code on a GPU, counted on a CPU; not a measurement.

Every operation counts as one launch that reads its inputs and writes its results. Its duration is the longest of three:
the launch by PyTorch, the transfer of its bytes, and its products on tensor cores. Real kernels are slower, some
operations are several launches, and waiting for the GPU (as in matching) is not included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

LAUNCH_S = 5e-6  # between two operations of eager PyTorch
# Achieved copy bandwidth, and TF32 products of the data sheet.
GPUS = {"A100": (1.7e12, 156e12), "H200": (4.3e12, 495e12)}
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "_local_scalar_dense"}


@dataclass
class Work:
    """A sequence of operations: name, bytes and floating-point operations of each."""

    operations: list[tuple[str, int, int]] = field(default_factory=list)

    def seconds(self, gpu: str) -> float:
        """Return the estimated time."""
        bytes_per_s, flops_per_s = GPUS[gpu]
        return sum(max(LAUNCH_S, size / bytes_per_s, flops / flops_per_s) for _, size, flops in self.operations)

    def products(self) -> Work:
        """Return only convolutions and matrix products, which our kernels cannot replace."""
        return Work([one for one in self.operations if one[2]])

    def summary(self) -> dict[str, Any]:
        """Return launches, megabytes, GFLOP, and estimated milliseconds by GPU."""
        row: dict[str, Any] = {
            "launches": len(self.operations),
            "MB": round(sum(size for _, size, _ in self.operations) / 1e6, 1),
            "GFLOP": round(sum(flops for _, _, flops in self.operations) / 1e9, 2),
        }
        return row | {f"{gpu}_ms": round(1e3 * self.seconds(gpu), 3) for gpu in GPUS}


class Counting(TorchDispatchMode):
    """Count the operations that run in the block, in ``work``.

    >>> import torch
    >>> with Counting() as counting:
    ...     total = (torch.ones(1000).view(10, 100) + 1).sum()  # ones, one addition, one sum; a view costs nothing
    >>> counting.work.summary()["launches"]
    3
    """

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run and count an operation."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        views = any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns)
        if not views and name not in FREE:
            tensors = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor)]
            count = flop_registry.get(func.overloadpacket)
            flops = count(*args, **kwargs, out_val=result) if count else 0
            self.work.operations.append((name, sum(one.nbytes for one in tensors), int(flops)))
        return result
