"""Counts and rows of all processes in distributed training."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def mean_over_processes(count: Tensor) -> Tensor:
    """Mean of a count over the processes of a distributed training, at least 1.

    Dividing a sum of losses by it gives, after DDP averages the gradients, the gradient of one process with the whole
    batch.

    >>> mean_over_processes(torch.tensor(0)).item()
    1.0
    """
    count = count.float()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=1)


def gather_rows(*values: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the rows of every process, without gradient, in order of rank. Every process must call this function.

    Args:
        values: Tensors with an equal number of rows, which may differ between processes.

    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> gather_rows(torch.tensor([5, 7]))
    [(tensor([5, 7]),)]
    >>> dist.destroy_process_group()
    """
    here = torch.tensor([len(values[0])], device=values[0].device)
    counts = [torch.zeros_like(here) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, here)
    sizes = [int(one) for one in counts]

    def everywhere(value: Tensor) -> list[Tensor]:
        padded = value.new_zeros(max(sizes), *value.shape[1:])
        padded[: len(value)] = value.detach()
        received = [torch.zeros_like(padded) for _ in sizes]
        dist.all_gather(received, padded)
        return [one[:size] for one, size in zip(received, sizes, strict=True)]

    return list(zip(*(everywhere(value) for value in values), strict=True))
