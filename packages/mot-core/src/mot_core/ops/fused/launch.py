"""Helpers shared by all kernel launches and registrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def precision(dtype: torch.dtype) -> Any:
    """Return the Triton dtype in which values of ``dtype`` are computed: at least float32."""
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Select the device of ``tensor`` for kernel launches instead of the current device."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def power_of_two(number: int) -> int:
    """Return the smallest power of two that is at least ``number``.

    >>> [power_of_two(number) for number in (1, 2, 3, 17)]
    [1, 2, 4, 32]
    """
    return 1 << (number - 1).bit_length()


def blocks(size: int, block: int) -> int:
    """Return the number of blocks that cover ``size``.

    >>> blocks(9, 4)
    3
    """
    return -(-size // block)


def flat_batches(op: Any) -> Callable[..., tuple[Any, Any]]:
    """Return the vmap rule of an operation on tensors with a leading batch dimension: merge it with the vmap one."""

    def rule(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[Any, Any]:
        size = info.batch_size
        flat = []
        for argument, dim in zip(arguments, in_dims, strict=True):
            if isinstance(argument, Tensor):
                own = argument.expand(size, *argument.shape) if dim is None else argument.movedim(dim, 0)
                argument = own.flatten(0, 1)
            flat.append(argument)
        results = op(*flat)
        if isinstance(results, Tensor):
            return results.view(size, -1, *results.shape[1:]), 0
        return [one.view(size, -1, *one.shape[1:]) for one in results], [0] * len(results)

    return rule
