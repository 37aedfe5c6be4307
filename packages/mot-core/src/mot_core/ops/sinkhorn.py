"""Sinkhorn normalization in the log domain, with masks and a dustbin for rows and columns without a partner."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.ops.choice import use_kernels
from mot_core.ops.fused import sinkhorn as fused

NOTHING = -1e9  # logit of a masked entry; a row of -inf would make the gradient NaN


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
    r"""Scale rows and columns in turn until ``exp`` of the result has the target sums; return the log of the result.

    Sinkhorn iterations in the log domain (Sinkhorn and Knopp 1967; Cuturi 2013, arXiv:1306.0895), with target row sums
    ``a``, target column sums ``b`` and temperature ``tau``:

    .. math::

        u_i &= \log a_i - \log \sum_j \exp(S_{ij} / \tau + v_j) \\
        v_j &= \log b_j - \log \sum_i \exp(S_{ij} / \tau + u_i) \\
        \log P_{ij} &= S_{ij} / \tau + u_i + v_j

    Without a dustbin, all target sums are 1, which requires as many rows as columns; the side scaled last always
    reaches its sums. With a dustbin, a last row and column with a constant logit absorb rows and columns without a
    partner: real rows and columns sum to 1, the last row to the number of columns, and the last column to the number
    of rows (SuperGlue, Sarlin et al., CVPR 2020, arXiv:1911.11763, eqs. 8 and 9).

    Half precision is computed and returned in float32.

    Args:
        logits: Scores ``S`` of shape ``(..., M, N)``.
        num_iters: Number of iterations over rows and columns; with ``tolerance`` the maximum number.
        temperature: Divisor ``tau`` of the logits. Lower values give sharper assignments but need more iterations.
        dustbin: Logit of having no partner, as a tensor with one element. Higher values leave more rows and columns
            unmatched. None disables the dustbin.
        row_mask: Boolean mask of shape ``(..., M)``, False for padded rows.
        column_mask: Boolean mask of shape ``(..., N)``, False for padded columns.
        last: Side that is scaled last and therefore sums exactly, "row" or "column".
        tolerance: Largest error of a sum at which the iterations stop. Every iteration then synchronizes with the GPU.
        backward: "unrolled" differentiates through the iterations. "implicit" solves a linear system for the gradient
            at convergence, with memory independent of ``num_iters``.

    Returns:
        Log of the plan, of shape ``(..., M, N)``, or ``(..., M + 1, N + 1)`` with a dustbin; -1e9 where masked.

    Raises:
        ValueError: If an argument is out of range or the shapes do not match.

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
    """Compute :func:`sinkhorn` in PyTorch, for validated arguments.

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
    """Run all iterations in one kernel, which expects one batch dimension and scales columns last."""
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
    """Return the logits with dustbin and masks, and the logarithms of the target sums of rows and columns."""
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
    """Return the largest absolute error of a row or column sum."""
    rows, columns = log_plan.logsumexp(-1).exp(), log_plan.logsumexp(-2).exp()
    return torch.maximum((rows - log_rows.exp()).abs().amax(), (columns - log_columns.exp()).abs().amax())


class _Implicit(torch.autograd.Function):
    r"""Sinkhorn iterations with the gradient at the fixed point, where row and column sums are constant.

    For the upstream gradient ``g`` of ``log P`` with row and column sums ``alpha`` and ``beta``, the gradient of the
    scores is ``g_ij - P_ij (x_i + y_j)``, where ``x`` and ``y`` solve::

        diag(a) x + P y = alpha
        P' x + diag(b) y = beta
    """

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
        rows, columns = plan.sum(-1), plan.sum(-2)  # the sums reached
        rows, columns = rows.where(rows > 0, 1), columns.where(columns > 0, 1)
        # The system has a one-dimensional null space: a constant added to all x can be subtracted from all y. Schur
        # complement on the columns, with the null direction filled in.
        share = plan / rows[..., :, None]
        pin = live.any(-2).to(plan.dtype)
        schur = torch.diag_embed(columns) - plan.transpose(-1, -2) @ share
        schur = schur + pin[..., :, None] * pin[..., None, :] / pin.sum(-1).clamp(min=1)[..., None, None]
        y = torch.linalg.solve(schur, (beta - (share.transpose(-1, -2) @ alpha[..., None])[..., 0])[..., None])[..., 0]
        x = (alpha - (plan @ y[..., None])[..., 0]) / rows
        return gradient - plan * (x[..., :, None] + y[..., None, :]), *[None] * 6
