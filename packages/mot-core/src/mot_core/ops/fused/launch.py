"""What every launch and every registration of a kernel needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def precision(dtype: torch.dtype) -> Any:
    """The Triton dtype in which values of ``dtype`` are computed: float32 at least."""
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Launches go to the device of ``tensor``, not to the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def power_of_two(number: int) -> int:
    """The smallest power of two that is no less than ``number``.

    >>> [power_of_two(number) for number in (1, 2, 3, 17)]
    [1, 2, 4, 32]
    """
    return 1 << (number - 1).bit_length()


def blocks(size: int, block: int) -> int:
    """How many blocks cover ``size``.

    >>> blocks(9, 4)
    3
    """
    return -(-size // block)


def flat_batches(op: Any) -> Callable[..., tuple[Any, Any]]:
    """The vmap rule of an operation whose tensors all begin with a batch dimension: one longer batch."""

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
