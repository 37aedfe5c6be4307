"""Launch and registration of the Sinkhorn normalization kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mot_core.ops.fused.launch import flat_batches, on_device, power_of_two, precision

LARGEST = 2048  # maximum number of rows or columns, because a program holds whole rows
TILE = 4096  # number of values of a block of rows
NAME = "mot_core::sinkhorn"
INPUTS = "Tensor logits, Tensor? dustbin, Tensor? row_mask, Tensor? column_mask, int num_iters"


def fits(rows: int, columns: int) -> bool:
    """Return whether the kernels support matrices of this size, including the dustbin.

    >>> fits(101, 101), fits(101, 3000)
    (True, False)
    """
    return max(rows, columns) <= LARGEST


@torch.library.custom_op(NAME, mutates_args=(), schema=f"({INPUTS}) -> (Tensor, Tensor, Tensor)")
def forward(
    logits: Tensor, dustbin: Tensor | None, row_mask: Tensor | None, column_mask: Tensor | None, num_iters: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-plan ``(B, R, C)``, with columns scaled last, and the potentials of every iteration.

    Args:
        logits: Scores of shape ``(B, M, N)``.
        dustbin: Dustbin logits of shape ``(B,)``, or None.
        row_mask: Boolean mask of shape ``(B, M)``, or None.
        column_mask: Boolean mask of shape ``(B, N)``, or None.
        num_iters: Number of iterations.
    """
    from mot_core.ops.triton import sinkhorn as kernels

    results = _results(logits, dustbin, num_iters)
    arguments, options = _launch(logits, dustbin, row_mask, column_mask, num_iters)
    with on_device(logits):
        kernels.forward[(len(logits),)](
            logits, *_given(dustbin, row_mask, column_mask), *results, *arguments, **options
        )
    return results


@torch.library.custom_op(
    f"{NAME}_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, Tensor row_potentials, Tensor column_potentials, {INPUTS}) -> (Tensor, Tensor)",
)
def backward(
    gradient: Tensor,
    row_potentials: Tensor,
    column_potentials: Tensor,
    logits: Tensor,
    dustbin: Tensor | None,
    row_mask: Tensor | None,
    column_mask: Tensor | None,
    num_iters: int,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of logits and dustbin; without a dustbin the latter is 0."""
    from mot_core.ops.triton import sinkhorn as kernels

    _, rows, columns = logits.shape
    result = row_potentials.new_empty(gradient.shape)
    arguments, options = _launch(logits, dustbin, row_mask, column_mask, num_iters)
    given = *_given(dustbin, row_mask, column_mask), row_potentials, column_potentials
    with on_device(logits):
        kernels.backward[(len(logits),)](gradient.contiguous(), logits, *given, result, *arguments, **options)
    by_logits = result[:, :rows, :columns]
    if dustbin is None:
        return by_logits.to(logits.dtype), result.new_zeros(len(logits))
    return by_logits.to(logits.dtype, copy=True), result[:, :, columns].sum(1) + result[:, rows, :columns].sum(1)


def _results(logits: Tensor, dustbin: Tensor | None, num_iters: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, rows, columns = logits.shape
    more = int(dustbin is not None)  # torch 2.11 cannot add a bool to a symbolic size
    rows, columns = rows + more, columns + more
    dtype = torch.promote_types(logits.dtype, torch.float32)
    sizes = (batch, rows, columns), (batch, num_iters, rows), (batch, num_iters, columns)
    plan, row_potentials, column_potentials = (logits.new_empty(size, dtype=dtype) for size in sizes)
    return plan, row_potentials, column_potentials


def _given(dustbin: Tensor | None, *masks: Tensor | None) -> list[Tensor | None]:
    numbers = None if dustbin is None else dustbin.contiguous()
    return [numbers, *(None if mask is None else mask.contiguous().view(torch.uint8) for mask in masks)]


def _launch(
    logits: Tensor, dustbin: Tensor | None, row_mask: Tensor | None, column_mask: Tensor | None, num_iters: int
) -> tuple[tuple[int, ...], dict[str, Any]]:
    _, rows, columns = logits.shape
    all_m, block_n = (power_of_two(size + (dustbin is not None)) for size in (rows, columns))
    options = {
        "DUSTBIN": int(dustbin is not None),
        "ROW_MASK": row_mask is not None,
        "COLUMN_MASK": column_mask is not None,
        "PRECISION": precision(logits.dtype),
        "ALL_M": all_m,
        "BLOCK_M": min(all_m, max(1, TILE // block_n)),
        "BLOCK_N": block_n,
        "num_warps": 16 if all_m * block_n >= TILE else 4,
    }
    return (rows, columns, *logits.stride(), num_iters), options


@forward.register_fake
def _(
    logits: Tensor, dustbin: Tensor | None, row_mask: Tensor | None, column_mask: Tensor | None, num_iters: int
) -> tuple[Tensor, Tensor, Tensor]:
    return _results(logits, dustbin, num_iters)


@backward.register_fake
def _(gradient: Tensor, row_potentials: Tensor, column_potentials: Tensor, logits: Tensor, *_: Any) -> Any:
    return logits.new_empty(logits.shape), row_potentials.new_empty(len(logits))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.num_iters = inputs
    _, *potentials = output
    ctx.mark_non_differentiable(*potentials)
    ctx.save_for_backward(*potentials, *tensors)


def _differentiate(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    *given, dustbin, row_mask, column_mask = ctx.saved_tensors
    by_logits, by_dustbin = backward(gradient, *given, dustbin, row_mask, column_mask, ctx.num_iters)
    return by_logits, None if dustbin is None else by_dustbin.to(dustbin.dtype), None, None, None


forward.register_autograd(_differentiate, setup_context=_remember)
for _op in (forward, backward):
    _op.register_vmap(flat_batches(_op))
