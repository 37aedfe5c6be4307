"""Sinkhorn normalisation in the log domain, with masks and a place for what has no partner."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.ops.choice import use_kernels
from mot_core.ops.fused import sinkhorn as fused

NOTHING = -1e9  # a logit; -inf in a whole row would make the gradient NaN


def sinkhorn(
    logits: Tensor,
    *,
    num_iters: int = 20,
    temperature: float = 1.0,
    dustbin: Tensor | None = None,
    row_mask: Tensor | None = None,
    column_mask: Tensor | None = None,
    last: Literal["row", "column"] = "column",
    tolerance: float | None = None,
    backward: Literal["unrolled", "implicit"] = "unrolled",
) -> Tensor:
    """Scales rows and columns in turn until ``exp`` of the result has the wanted sums; returns its logarithm.

    Without a dustbin, rows and columns sum to 1, which needs as many of them; the ones that are scaled last do in any
    case. With one, a last row and column take what has no partner: real rows and columns sum to 1, the last row to the
    number of columns, the last column to the number of rows (Sarlin et al. 2020, SuperGlue, eq. 9).

    Half precision is computed and returned in float32.

    Args:
        logits: ``(..., M, N)``.
        num_iters: iterations, each over rows and columns; with ``tolerance`` the most of them.
        temperature: the logits are divided by it.
        dustbin: logit of having no partner, a tensor with one number; None for no dustbin.
        row_mask: ``(..., M)`` bool, False for rows that do not exist.
        column_mask: ``(..., N)`` bool, False for columns that do not exist.
        last: what is scaled last and so sums exactly.
        tolerance: stop when no sum is further off. Every iteration then waits for the device.
        backward: "unrolled" goes back through the iterations. "implicit" solves for the gradient at full convergence,
            with memory that does not grow with them.

    Returns:
        ``(..., M, N)``, with a dustbin ``(..., M + 1, N + 1)``; -1e9 where masked.

    Raises:
        ValueError: an argument is out of range, or a shape does not fit.

    >>> round(sinkhorn(torch.tensor([[2.0, 0.0], [0.0, 2.0]])).exp()[0, 0].item(), 3)  # e^2 / (e^2 + 1)
    0.881
    >>> sinkhorn(torch.tensor([[4.0, 0.0]]), dustbin=torch.tensor(0.0)).exp().round(decimals=2)
    tensor([[0.8300, 0.0800, 0.0800],
            [0.1700, 0.9200, 0.9200]])
    """
    if num_iters < 1 or not temperature > 0:
        raise ValueError(f"num_iters must be at least 1 and temperature more than 0, got {num_iters} and {temperature}")
    if last not in ("row", "column") or backward not in ("unrolled", "implicit"):
        raise ValueError(f"last must be row or column, backward unrolled or implicit, got {last!r} and {backward!r}")
    if logits.ndim < 2:
        raise ValueError(f"logits must have shape (..., M, N), got {tuple(logits.shape)}")
    _check(logits, dustbin, row_mask, column_mask)
    size = [length + int(dustbin is not None) for length in logits.shape[-2:]]
    fitting = backward == "unrolled" and tolerance is None and fused.fits(*size)
    if use_kernels(logits) and logits.numel() and fitting:
        return _fused(logits, num_iters, temperature, dustbin, row_mask, column_mask, last)
    options = (num_iters, last, tolerance)
    return reference(logits, temperature, dustbin, row_mask, column_mask, *options, backward=backward)


def reference(
    logits: Tensor,
    temperature: float,
    dustbin: Tensor | None,
    row_mask: Tensor | None,
    column_mask: Tensor | None,
    num_iters: int,
    last: str,
    tolerance: float | None = None,
    backward: str = "unrolled",
) -> Tensor:
    """:func:`sinkhorn` in PyTorch, for valid arguments.

    >>> reference(torch.zeros(2, 2), 1.0, None, None, None, 1, "row").exp()
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    scores, log_rows, log_columns = _problem(logits, temperature, dustbin, row_mask, column_mask)
    if not scores.numel():
        return scores
    live = (log_rows > NOTHING / 2)[..., :, None] & (log_columns > NOTHING / 2)[..., None, :]
    options = (num_iters, last, tolerance)
    if backward == "implicit":
        result: Tensor = _Implicit.apply(scores, log_rows, log_columns, live, *options)  # type: ignore[no-untyped-call]
    else:
        result = _iterate(scores, log_rows, log_columns, *options)
    return result.masked_fill(~live, NOTHING)


def _check(logits: Tensor, dustbin: Tensor | None, row_mask: Tensor | None, column_mask: Tensor | None) -> None:
    *batch, rows, columns = logits.shape
    for name, mask, size in (("row_mask", row_mask, rows), ("column_mask", column_mask, columns)):
        if mask is not None and tuple(mask.shape) != (*batch, size):
            raise ValueError(f"{name} must have shape {(*batch, size)}, got {tuple(mask.shape)}")
    if dustbin is not None and dustbin.numel() != 1:
        raise ValueError(f"dustbin must be a tensor with one number, got shape {tuple(dustbin.shape)}")


def _fused(
    logits: Tensor,
    num_iters: int,
    temperature: float,
    dustbin: Tensor | None,
    row_mask: Tensor | None,
    column_mask: Tensor | None,
    last: str,
) -> Tensor:
    """All iterations in one kernel, which knows one batch dimension and scales columns last."""
    scores = logits if temperature == 1 else logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    if last == "row":
        scores, row_mask, column_mask = scores.transpose(-1, -2), column_mask, row_mask
    scores = scores.reshape(-1, *scores.shape[-2:])
    masks = (None if mask is None else mask.bool().reshape(-1, mask.shape[-1]) for mask in (row_mask, column_mask))
    if dustbin is not None:
        dtype = torch.promote_types(scores.dtype, torch.float32)
        dustbin = dustbin.to(scores.device, dtype).reshape(1).expand(len(scores)) / temperature
    plan: Tensor = fused.forward(scores, dustbin, *masks, num_iters)[0]
    plan = plan if last == "column" else plan.transpose(-1, -2)
    return plan.reshape(*logits.shape[:-2], *plan.shape[-2:])


def _problem(
    logits: Tensor, temperature: float, dustbin: Tensor | None, row_mask: Tensor | None, column_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with dustbin and masks, and the logarithms of the wanted sums of rows and columns."""
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    *batch, rows, columns = scores.shape
    row_mask = scores.new_ones((*batch, rows), dtype=torch.bool) if row_mask is None else row_mask.bool()
    column_mask = scores.new_ones((*batch, columns), dtype=torch.bool) if column_mask is None else column_mask.bool()
    row_sums, column_sums = row_mask.to(scores.dtype), column_mask.to(scores.dtype)
    if dustbin is not None:
        bin_score = dustbin.to(scores.dtype).reshape(()) / temperature
        scores = torch.cat([scores, bin_score.expand(*batch, rows, 1)], -1)
        scores = torch.cat([scores, bin_score.expand(*batch, 1, columns + 1)], -2)
        row_mask, column_mask = F.pad(row_mask, (0, 1), value=True), F.pad(column_mask, (0, 1), value=True)
        num_rows, num_columns = row_sums.sum(-1, keepdim=True), column_sums.sum(-1, keepdim=True)
        row_sums, column_sums = torch.cat([row_sums, num_columns], -1), torch.cat([column_sums, num_rows], -1)
    scores = scores.masked_fill(~(row_mask[..., :, None] & column_mask[..., None, :]), NOTHING)
    return scores, row_sums.log().clamp(min=NOTHING), column_sums.log().clamp(min=NOTHING)


def _iterate(
    scores: Tensor, log_rows: Tensor, log_columns: Tensor, num_iters: int, last: str, tolerance: float | None
) -> Tensor:
    u, v = torch.zeros_like(log_rows), torch.zeros_like(log_columns)
    for _ in range(num_iters):
        if last == "column":
            u = log_rows - (scores + v[..., None, :]).logsumexp(-1)
            v = log_columns - (scores + u[..., :, None]).logsumexp(-2)
        else:
            v = log_columns - (scores + u[..., :, None]).logsumexp(-2)
            u = log_rows - (scores + v[..., None, :]).logsumexp(-1)
        if (
            tolerance is not None
            and _error(scores + u[..., :, None] + v[..., None, :], log_rows, log_columns) < tolerance
        ):
            break
    return scores + u[..., :, None] + v[..., None, :]


@torch.no_grad()
def _error(log_plan: Tensor, log_rows: Tensor, log_columns: Tensor) -> Tensor:
    """How far the worst sum is off."""
    rows, columns = log_plan.logsumexp(-1).exp(), log_plan.logsumexp(-2).exp()
    return torch.maximum((rows - log_rows.exp()).abs().amax(), (columns - log_columns.exp()).abs().amax())


class _Implicit(torch.autograd.Function):
    """The gradient of the fixed point: rows and columns keep their sums, which is a linear system."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, log_rows: Tensor, log_columns: Tensor, live: Tensor, *options: Any) -> Tensor:
        result = _iterate(scores, log_rows, log_columns, *options)
        ctx.save_for_backward(result, live)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        result, live = ctx.saved_tensors
        gradient = gradients[0].where(live, 0)
        plan = result.exp().where(live, 0)
        alpha, beta = gradient.sum(-1), gradient.sum(-2)
        rows, columns = plan.sum(-1), plan.sum(-2)  # those reached
        rows, columns = rows.where(rows > 0, 1), columns.where(columns > 0, 1)
        # The system is singular by one: what is added to all x can be taken from all y. Schur complement on the
        # columns, with the direction of its null space filled in.
        share = plan / rows[..., :, None]
        pin = live.any(-2).to(plan.dtype)
        schur = torch.diag_embed(columns) - plan.transpose(-1, -2) @ share
        schur = schur + pin[..., :, None] * pin[..., None, :] / pin.sum(-1).clamp(min=1)[..., None, None]
        y = torch.linalg.solve(schur, (beta - (share.transpose(-1, -2) @ alpha[..., None])[..., 0])[..., None])[..., 0]
        x = (alpha - (plan @ y[..., None])[..., 0]) / rows
        return gradient - plan * (x[..., :, None] + y[..., None, :]), *[None] * 6
