"""Attention over objects and tracklets with a bias per pair: the weights between the groups are stored, no others.

For one head, with the bias ``b`` between object rows and tracklet columns (and its transpose below the diagonal)::

    S = Q K^T / sqrt(D) + [[0, b], [b^T, 0]],   A = softmax(S),   Y = A V

A program instance computes a block of rows of one head of one batch element over blocks of keys, with a running maximum
and sum (online softmax). A second pass over the other group stores its weights ``exp(S - logsumexp)``. The backward
pass recomputes the weights from the logsumexp, ``N`` numbers per head.
"""

import triton
import triton.language as tl

NOTHING = tl.constexpr(-1e9)


@triton.jit
def _multiply(a, b, PRECISION: tl.constexpr):
    """Return the matrix product; in float64, for which Triton has no product on all GPUs, as a sum."""
    if PRECISION == tl.float64:  # noqa: SIM300
        product = tl.sum(a[:, :, None] * b[None, :, :], 1)
    else:
        product = tl.dot(a, b, input_precision="ieee")
    return product


@triton.jit
def _live(padding, batch, token, stop, tokens, PADDED: tl.constexpr):
    """Return the mask of tokens that exist and are not padded."""
    live = token < stop
    if PADDED:
        live = live & (tl.load(padding + batch * tokens + token, mask=live, other=1) == 0)
    return live


@triton.jit
def _load(
    source,
    batch,
    token,
    head,
    live,
    batch_stride,
    token_stride,
    head_stride,
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Load one head of a block of tokens, 0 where not live."""
    channel = tl.arange(0, BLOCK_C)
    place = batch * batch_stride + token[:, None] * token_stride + head * head_stride + channel[None, :]
    return tl.load(source + place, mask=live[:, None] & (channel < CHANNELS)[None, :], other=0).to(PRECISION)


@triton.jit
def _pairs(row, column, live_row, live_column, batch, head, objects, tracklets, heads):
    """Return the index of every pair in ``(B, M, K, H)``, and whether it consists of an object and a tracklet."""
    of_object = (row < objects)[:, None]
    across = (of_object != (column < objects)[None, :]) & live_row[:, None] & live_column[None, :]
    i = tl.where(of_object, row[:, None], column[None, :])
    j = tl.where(of_object, column[None, :], row[:, None]) - objects
    return ((batch * objects + i) * tracklets + j) * heads + head, across


@triton.jit
def _score(queries, keys, bias, pair, across, live_row, live_column, scale, PRECISION: tl.constexpr):
    """Return the logits of a block of rows and columns."""
    score = _multiply(queries, tl.trans(keys), PRECISION) * scale
    score += tl.load(bias + pair, mask=across, other=0).to(PRECISION)
    return tl.where(live_row[:, None] & live_column[None, :], score, NOTHING)


@triton.jit
def forward(
    query,
    key,
    value,
    bias,
    padding,
    result,
    weights,
    sums,
    objects,
    tracklets,
    heads,
    batch_stride,
    token_stride,
    head_stride,
    scale,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    OTHERS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute ``result (B, N, H, D)``, ``weights (B, 2, M, K, H)`` and their logsumexp ``sums (B, N, H)``.

    A block of rows belongs to one group, so that the second pass covers the other group only. The weights of objects
    for tracklets have index 0 and those of tracklets for objects have index 1, both as (object, tracklet).
    """
    block, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    tokens = objects + tracklets
    object_blocks = (objects + BLOCK - 1) // BLOCK
    is_object = (block < object_blocks).to(tl.int32)
    start = block * BLOCK + (1 - is_object) * (objects - object_blocks * BLOCK)
    stop = objects + (1 - is_object) * tracklets
    row = start + tl.arange(0, BLOCK)
    live_row = _live(padding, batch, row, stop, tokens, PADDED)
    queries = _load(
        query, batch, row, head, live_row, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
    )

    largest = tl.full([BLOCK], NOTHING, PRECISION)
    total = tl.zeros([BLOCK], PRECISION)
    mixed = tl.zeros([BLOCK, BLOCK_C], PRECISION)
    for first in range(0, tokens, OTHERS):
        column = first + tl.arange(0, OTHERS)
        live = _live(padding, batch, column, tokens, tokens, PADDED)
        keys = _load(
            key, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        values = _load(
            value, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        pair, across = _pairs(row, column, live_row, live, batch, head, objects, tracklets, heads)
        score = _score(queries, keys, bias, pair, across, live_row, live, scale, PRECISION)
        larger = tl.maximum(largest, tl.max(score, 1))
        share = tl.where(live[None, :], tl.exp(score - larger[:, None]), 0)
        shrink = tl.exp(largest - larger)
        total = total * shrink + tl.sum(share, 1)
        mixed = mixed * shrink[:, None] + _multiply(share, values, PRECISION)
        largest = larger
    total = tl.where(live_row, total, 1)
    logsumexp = largest + tl.log(total)
    channel = tl.arange(0, BLOCK_C)
    place = ((batch * tokens + row)[:, None] * heads + head) * CHANNELS + channel[None, :]
    mixed = tl.where(live_row[:, None], mixed / total[:, None], 0)
    inside = (row < stop)[:, None]
    tl.store(result + place, mixed.to(result.dtype.element_ty), mask=inside & (channel < CHANNELS)[None, :])
    tl.store(sums + (batch * tokens + row) * heads + head, logsumexp, mask=row < stop)

    # Weights of the other group; bias and weights have the same layout, apart from the direction.
    direction = (batch + 1 - is_object) * objects * tracklets * heads
    for first in range(objects * is_object, objects + tracklets * is_object, OTHERS):
        column = first + tl.arange(0, OTHERS)
        last = objects + tracklets * is_object
        live = _live(padding, batch, column, last, tokens, PADDED)
        keys = _load(
            key, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        pair, across = _pairs(row, column, live_row, live, batch, head, objects, tracklets, heads)
        score = _score(queries, keys, bias, pair, across, live_row, live, scale, PRECISION)
        share = tl.where(across, tl.exp(score - logsumexp[:, None]), 0)
        tl.store(weights + direction + pair, share, mask=inside & (column < last)[None, :])


@triton.jit
def backward_rows(
    gradient,
    weights_gradient,
    query,
    key,
    value,
    bias,
    padding,
    sums,
    query_gradient,
    bias_gradient,
    deltas,
    objects,
    tracklets,
    heads,
    batch_stride,
    token_stride,
    head_stride,
    scale,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    OTHERS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute the gradients of queries and of the bias, and ``deltas (B, N, H)``, for a block of rows of one group.

    With the upstream gradients ``g`` of the result and ``G`` of the weights between the groups::

        dL/dA_ij = <g_i, v_j> + G_ij
        delta_i  = sum over j of A_ij dL/dA_ij
        dL/dS_ij = A_ij (dL/dA_ij - delta_i)
        dL/dq_i  = sum over j of dL/dS_ij k_j / sqrt(D)

    ``bias_gradient (B, 2, M, K, H)`` has ``dL/dS`` of both directions, to be added.
    """
    block, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    tokens = objects + tracklets
    object_blocks = (objects + BLOCK - 1) // BLOCK
    is_object = (block < object_blocks).to(tl.int32)
    start = block * BLOCK + (1 - is_object) * (objects - object_blocks * BLOCK)
    stop = objects + (1 - is_object) * tracklets
    row = start + tl.arange(0, BLOCK)
    live_row = _live(padding, batch, row, stop, tokens, PADDED)
    queries = _load(
        query, batch, row, head, live_row, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
    )
    width = heads * CHANNELS
    above = _load(gradient, batch, row, head, live_row, tokens * width, width, CHANNELS, CHANNELS, PRECISION, BLOCK_C)
    logsumexp = tl.load(sums + (batch * tokens + row) * heads + head, mask=live_row, other=0)
    direction = (batch + 1 - is_object) * objects * tracklets * heads

    delta = tl.zeros([BLOCK], PRECISION)
    for first in range(0, tokens, OTHERS):
        column = first + tl.arange(0, OTHERS)
        live = _live(padding, batch, column, tokens, tokens, PADDED)
        keys = _load(
            key, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        values = _load(
            value, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        pair, across = _pairs(row, column, live_row, live, batch, head, objects, tracklets, heads)
        score = _score(queries, keys, bias, pair, across, live_row, live, scale, PRECISION)
        share = tl.where(live_row[:, None] & live[None, :], tl.exp(score - logsumexp[:, None]), 0)
        by_share = _multiply(above, tl.trans(values), PRECISION)
        by_share += tl.load(weights_gradient + direction + pair, mask=across, other=0).to(PRECISION)
        delta += tl.sum(share * by_share, 1)
    tl.store(deltas + (batch * tokens + row) * heads + head, delta, mask=row < stop)

    by_query = tl.zeros([BLOCK, BLOCK_C], PRECISION)
    for first in range(0, tokens, OTHERS):
        column = first + tl.arange(0, OTHERS)
        live = _live(padding, batch, column, tokens, tokens, PADDED)
        keys = _load(
            key, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        values = _load(
            value, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        pair, across = _pairs(row, column, live_row, live, batch, head, objects, tracklets, heads)
        score = _score(queries, keys, bias, pair, across, live_row, live, scale, PRECISION)
        share = tl.where(live_row[:, None] & live[None, :], tl.exp(score - logsumexp[:, None]), 0)
        by_share = _multiply(above, tl.trans(values), PRECISION)
        by_share += tl.load(weights_gradient + direction + pair, mask=across, other=0).to(PRECISION)
        by_score = share * (by_share - delta[:, None])
        by_query += _multiply(by_score, keys, PRECISION)
        # Every pair of the groups is stored, with 0 for padding.
        apart = ((row < objects)[:, None] != (column < objects)[None, :]) & (row < stop)[:, None]
        tl.store(
            bias_gradient + direction + pair, tl.where(across, by_score, 0), mask=apart & (column < tokens)[None, :]
        )
    channel = tl.arange(0, BLOCK_C)
    place = ((batch * tokens + row)[:, None] * heads + head) * CHANNELS + channel[None, :]
    mask = (row < stop)[:, None] & (channel < CHANNELS)[None, :]
    tl.store(query_gradient + place, (by_query * scale).to(query_gradient.dtype.element_ty), mask=mask)


@triton.jit
def backward_columns(
    gradient,
    weights_gradient,
    query,
    key,
    value,
    bias,
    padding,
    sums,
    deltas,
    key_gradient,
    value_gradient,
    objects,
    tracklets,
    heads,
    batch_stride,
    token_stride,
    head_stride,
    scale,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    OTHERS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute the gradients of a block of keys and values, over all rows.

    With the notation of :func:`backward_rows`::

        dL/dv_j = sum over i of A_ij g_i
        dL/dk_j = sum over i of dL/dS_ij q_i / sqrt(D)
    """
    block, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    tokens = objects + tracklets
    column = block * BLOCK + tl.arange(0, BLOCK)
    live = _live(padding, batch, column, tokens, tokens, PADDED)
    keys = _load(key, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C)
    values = _load(
        value, batch, column, head, live, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
    )
    width = heads * CHANNELS
    size = objects * tracklets * heads

    by_key = tl.zeros([BLOCK, BLOCK_C], PRECISION)
    by_value = tl.zeros([BLOCK, BLOCK_C], PRECISION)
    for first in range(0, tokens, OTHERS):
        row = first + tl.arange(0, OTHERS)
        live_row = _live(padding, batch, row, tokens, tokens, PADDED)
        queries = _load(
            query, batch, row, head, live_row, batch_stride, token_stride, head_stride, CHANNELS, PRECISION, BLOCK_C
        )
        above = _load(
            gradient, batch, row, head, live_row, tokens * width, width, CHANNELS, CHANNELS, PRECISION, BLOCK_C
        )
        place = (batch * tokens + row) * heads + head
        logsumexp = tl.load(sums + place, mask=live_row, other=0)
        delta = tl.load(deltas + place, mask=live_row, other=0)
        pair, across = _pairs(row, column, live_row, live, batch, head, objects, tracklets, heads)
        score = _score(queries, keys, bias, pair, across, live_row, live, scale, PRECISION)
        share = tl.where(live_row[:, None] & live[None, :], tl.exp(score - logsumexp[:, None]), 0)
        direction = (batch + (row >= objects).to(tl.int64)) * size
        by_share = _multiply(above, tl.trans(values), PRECISION)
        by_share += tl.load(weights_gradient + direction[:, None] + pair, mask=across, other=0).to(PRECISION)
        by_score = share * (by_share - delta[:, None])
        by_value += _multiply(tl.trans(share), above, PRECISION)
        by_key += _multiply(tl.trans(by_score), queries, PRECISION)
    channel = tl.arange(0, BLOCK_C)
    place = ((batch * tokens + column)[:, None] * heads + head) * CHANNELS + channel[None, :]
    mask = (column < tokens)[:, None] & (channel < CHANNELS)[None, :]
    tl.store(key_gradient + place, (by_key * scale).to(key_gradient.dtype.element_ty), mask=mask)
    tl.store(value_gradient + place, by_value.to(value_gradient.dtype.element_ty), mask=mask)
