"""Sinkhorn normalization in the log domain: a program instance runs all iterations of one matrix, by blocks of rows.

For scores ``S`` and target sums ``a`` of rows and ``b`` of columns (Cuturi 2013, arXiv:1306.0895; dustbin: SuperGlue,
Sarlin et al. 2020, arXiv:1911.11763, eqs. 8 and 9), one iteration is::

    u_i = log a_i - logsumexp over j of (S_ij + v_j)
    v_j = log b_j - logsumexp over i of (S_ij + u_i)

and the result is ``S_ij + u_i + v_j``. Columns are scaled last; scaling rows last is the transposed problem. An
iteration reads the matrix once, from the cache: it scales a block of rows and accumulates the column sums. The backward
pass stores only the potentials ``u`` and ``v`` of every iteration, ``M + N`` numbers, and recomputes the plan.
"""

import triton
import triton.language as tl

NOTHING = tl.constexpr(-1e9)


@triton.jit
def _real(mask, index, size, GIVEN: tl.constexpr):
    """Return the mask of rows (or columns) that exist, without the dustbin."""
    real = index < size
    if GIVEN:
        real = real & (tl.load(mask + index, mask=real, other=0) != 0)
    return real


@triton.jit
def _wanted(real, index, size, others, DUSTBIN: tl.constexpr, PRECISION: tl.constexpr):
    """Return the target sums of rows (or columns): 1, the number of the others for the dustbin, 0 if masked."""
    wanted = real.to(PRECISION)
    if DUSTBIN:
        wanted = tl.where(index == size, others, wanted)
    return wanted


@triton.jit
def _sums(
    row_mask,
    column_mask,
    rows,
    columns,
    column,
    DUSTBIN: tl.constexpr,
    ROW_MASK: tl.constexpr,
    COLUMN_MASK: tl.constexpr,
    PRECISION: tl.constexpr,
    ALL_M: tl.constexpr,
):
    """Return the target sums of all columns and of all rows, and 1 for every real column."""
    every_row = tl.arange(0, ALL_M)
    real_row = _real(row_mask, every_row, rows, ROW_MASK)
    real_column = _real(column_mask, column, columns, COLUMN_MASK)
    num_rows, num_columns = tl.sum(real_row.to(PRECISION), 0), tl.sum(real_column.to(PRECISION), 0)
    row_sums = _wanted(real_row, every_row, rows, num_columns, DUSTBIN, PRECISION)
    column_sums = _wanted(real_column, column, columns, num_rows, DUSTBIN, PRECISION)
    return column_sums, row_sums, real_column.to(PRECISION)


@triton.jit
def _scores(
    logits,
    bin_score,
    rows,
    columns,
    row_stride,
    column_stride,
    row,
    column,
    live_row,
    live_column,
    DUSTBIN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Load a block of rows of the scores, with dustbin and masks."""
    live = live_row[:, None] & live_column[None, :]
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    place = logits + row[:, None] * row_stride + column[None, :] * column_stride
    scores = tl.load(place, mask=inside & live, other=0).to(PRECISION)
    if DUSTBIN:
        scores = tl.where(inside, scores, bin_score)
    return tl.where(live, tl.maximum(scores, NOTHING), NOTHING)


@triton.jit
def forward(
    logits,
    dustbin,
    row_mask,
    column_mask,
    result,
    row_potentials,
    column_potentials,
    rows,
    columns,
    batch_stride,
    row_stride,
    column_stride,
    num_iters,
    DUSTBIN: tl.constexpr,
    ROW_MASK: tl.constexpr,
    COLUMN_MASK: tl.constexpr,
    PRECISION: tl.constexpr,
    ALL_M: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Compute ``result (B, R, C)``, one matrix per program instance, and the potentials of every iteration.

    The potentials are ``(B, num_iters, R)`` and ``(B, num_iters, C)``; all include the dustbin. The logsumexp over the
    rows is accumulated block by block with a running maximum.
    """
    batch = tl.program_id(0).to(tl.int64)
    all_rows, all_columns = rows + DUSTBIN, columns + DUSTBIN
    logits += batch * batch_stride
    result += batch * all_rows * all_columns
    row_potentials += batch * num_iters * all_rows
    column_potentials += batch * num_iters * all_columns
    if ROW_MASK:
        row_mask += batch * rows
    if COLUMN_MASK:
        column_mask += batch * columns
    bin_score = 0.0
    if DUSTBIN:
        bin_score = tl.load(dustbin + batch).to(PRECISION)
    column = tl.arange(0, BLOCK_N)
    column_sums, every_row_sum, real_columns = _sums(
        row_mask, column_mask, rows, columns, column, DUSTBIN, ROW_MASK, COLUMN_MASK, PRECISION, ALL_M
    )
    # A column without any row is masked as well; its potential would be huge.
    live_column = column_sums * tl.max(every_row_sum, 0) > 0
    num_columns = tl.sum(real_columns, 0)
    largest_sum = tl.max(column_sums, 0)
    log_columns = tl.log(tl.maximum(column_sums, 1))

    v = tl.zeros([BLOCK_N], PRECISION)
    for step in range(num_iters):
        largest = tl.full([BLOCK_N], NOTHING, PRECISION)
        total = tl.zeros([BLOCK_N], PRECISION)
        for first in range(0, all_rows, BLOCK_M):
            row = first + tl.arange(0, BLOCK_M)
            row_sums = _wanted(_real(row_mask, row, rows, ROW_MASK), row, rows, num_columns, DUSTBIN, PRECISION)
            live_row = row_sums * largest_sum > 0
            scores = _scores(
                logits, bin_score, rows, columns, row_stride, column_stride, row, column, live_row, live_column,
                DUSTBIN, PRECISION,
            )  # fmt: skip
            seen = scores + v[None, :]
            top = tl.max(seen, 1)
            u = tl.log(tl.maximum(row_sums, 1)) - top - tl.log(tl.sum(tl.exp(seen - top[:, None]), 1))
            u = tl.where(live_row, u, 0)
            tl.store(row_potentials + step * all_rows + row, u, mask=row < all_rows)
            # Running logsumexp of each column over all blocks.
            scores += u[:, None]
            larger = tl.maximum(largest, tl.max(scores, 0))
            total = total * tl.exp(largest - larger) + tl.sum(tl.exp(scores - larger[None, :]), 0)
            largest = larger
        v = tl.where(live_column, log_columns - largest - tl.log(tl.maximum(total, 1e-30)), 0)
        tl.store(column_potentials + step * all_columns + column, v, mask=column < all_columns)

    # Potentials stored by this program are read back through the cache, possibly by other threads of it.
    tl.debug_barrier()
    for first in range(0, all_rows, BLOCK_M):
        row = first + tl.arange(0, BLOCK_M)
        row_sums = _wanted(_real(row_mask, row, rows, ROW_MASK), row, rows, num_columns, DUSTBIN, PRECISION)
        scores = _scores(
            logits, bin_score, rows, columns, row_stride, column_stride, row, column,
            row_sums * largest_sum > 0, live_column, DUSTBIN, PRECISION,
        )  # fmt: skip
        u = tl.load(row_potentials + (num_iters - 1) * all_rows + row, mask=row < all_rows, other=0)
        plan = tl.where(scores > NOTHING / 2, scores + u[:, None] + v[None, :], NOTHING)
        inside = (row < all_rows)[:, None] & (column < all_columns)[None, :]
        tl.store(result + row[:, None] * all_columns + column[None, :], plan, mask=inside)


@triton.jit
def backward(
    gradient,
    logits,
    dustbin,
    row_mask,
    column_mask,
    row_potentials,
    column_potentials,
    score_gradient,
    rows,
    columns,
    batch_stride,
    row_stride,
    column_stride,
    num_iters,
    DUSTBIN: tl.constexpr,
    ROW_MASK: tl.constexpr,
    COLUMN_MASK: tl.constexpr,
    PRECISION: tl.constexpr,
    ALL_M: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Compute the gradient ``(B, R, C)`` of the scores, including the dustbin, one matrix per program instance.

    Adjoint of the iterations from the last to the first, with ``Q_ij = exp(S_ij + u_i + v_j) / b_j`` and
    ``R_ij = exp(S_ij + u_i + v_j^before) / a_i``::

        dL/dS_ij -= Q_ij dL/dv_j,   dL/du_i -= sum over j of Q_ij dL/dv_j
        dL/dS_ij -= R_ij dL/du_i,   dL/dv_j^before -= sum over i of R_ij dL/du_i
    """
    batch = tl.program_id(0).to(tl.int64)
    all_rows, all_columns = rows + DUSTBIN, columns + DUSTBIN
    logits += batch * batch_stride
    gradient += batch * all_rows * all_columns
    score_gradient += batch * all_rows * all_columns
    row_potentials += batch * num_iters * all_rows
    column_potentials += batch * num_iters * all_columns
    if ROW_MASK:
        row_mask += batch * rows
    if COLUMN_MASK:
        column_mask += batch * columns
    bin_score = 0.0
    if DUSTBIN:
        bin_score = tl.load(dustbin + batch).to(PRECISION)
    column = tl.arange(0, BLOCK_N)
    column_sums, every_row_sum, real_columns = _sums(
        row_mask, column_mask, rows, columns, column, DUSTBIN, ROW_MASK, COLUMN_MASK, PRECISION, ALL_M
    )
    live_column = column_sums * tl.max(every_row_sum, 0) > 0
    num_columns = tl.sum(real_columns, 0)
    largest_sum = tl.max(column_sums, 0)
    log_columns = tl.log(tl.maximum(column_sums, 1))

    by_v = tl.zeros([BLOCK_N], PRECISION)
    for first in range(0, all_rows, BLOCK_M):
        row = first + tl.arange(0, BLOCK_M)
        row_sums = _wanted(_real(row_mask, row, rows, ROW_MASK), row, rows, num_columns, DUSTBIN, PRECISION)
        live = (row_sums * largest_sum > 0)[:, None] & live_column[None, :]
        offset = row[:, None] * all_columns + column[None, :]
        by_v += tl.sum(tl.load(gradient + offset, mask=live, other=0).to(PRECISION), 0)

    for back in range(num_iters):
        step = num_iters - 1 - back
        v = tl.load(column_potentials + step * all_columns + column, mask=live_column, other=0)
        before = live_column & (step > 0)
        v_before = tl.load(column_potentials + (step - 1) * all_columns + column, mask=before, other=0)
        by_v_before = tl.zeros([BLOCK_N], PRECISION)
        for first in range(0, all_rows, BLOCK_M):
            row = first + tl.arange(0, BLOCK_M)
            row_sums = _wanted(_real(row_mask, row, rows, ROW_MASK), row, rows, num_columns, DUSTBIN, PRECISION)
            live_row = row_sums * largest_sum > 0
            scores = _scores(
                logits, bin_score, rows, columns, row_stride, column_stride, row, column, live_row, live_column,
                DUSTBIN, PRECISION,
            )  # fmt: skip
            u = tl.load(row_potentials + step * all_rows + row, mask=live_row, other=0)
            offset = row[:, None] * all_columns + column[None, :]
            live = live_row[:, None] & live_column[None, :]
            scores += u[:, None]
            # Column step: Q, the share of every row in the sum of its column; exp(-1e9) = 0 for masked entries.
            change = tl.exp(scores + (v - log_columns)[None, :]) * by_v[None, :]
            by_u = -tl.sum(change, 1)
            if back == 0:
                by_score = tl.load(gradient + offset, mask=live, other=0).to(PRECISION)
                by_u += tl.sum(by_score, 1)
            else:
                by_score = tl.load(score_gradient + offset, mask=live, other=0)
            by_score -= change
            # Row step before it, which used the column potentials of the previous iteration.
            log_rows = tl.log(tl.maximum(row_sums, 1))
            change = tl.exp(scores - log_rows[:, None] + v_before[None, :]) * by_u[:, None]
            by_v_before -= tl.sum(change, 0)
            inside = (row < all_rows)[:, None] & (column < all_columns)[None, :]
            tl.store(score_gradient + offset, by_score - change, mask=inside)
        by_v = by_v_before
        tl.debug_barrier()
