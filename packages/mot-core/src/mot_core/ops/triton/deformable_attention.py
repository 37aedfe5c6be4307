"""Multi-scale deformable attention: softmax, bilinear gather and weighted sum in one pass, gradients in another.

Deformable DETR (Zhu et al., ICLR 2021, arXiv:2010.04159), eq. 3, without the projections::

    result[q, h] = sum over s of w[q, h, s] * V[h](x[q, h, s])

with ``s`` over all levels and points, and ``V(x)`` the bilinear interpolation from the four neighboring cells ``c``,
``sum over c of share_x(c) share_y(c) value[c]``.

A program instance computes ``BLOCK_Q`` queries of one head of one batch element with all their samples:
``(BLOCK_Q, SAMPLES)`` positions and ``(BLOCK_Q, SAMPLES, BLOCK_C)`` values, both padded to powers of two.
"""

import triton
import triton.language as tl


@triton.jit
def _place(
    locations, sample, live, column_of, shapes, LEVELS: tl.constexpr, POINTS: tl.constexpr, PRECISION: tl.constexpr
):
    """Return the position of every sample in its map in cells, the size of the map and the index of its first cell."""
    x = tl.load(locations + 2 * sample, mask=live, other=0).to(PRECISION)
    y = tl.load(locations + 2 * sample + 1, mask=live, other=0).to(PRECISION)
    level = column_of // POINTS
    height = tl.zeros_like(x)
    width = tl.zeros_like(x)
    start = tl.zeros_like(x)
    first = 0.0
    for index in tl.static_range(LEVELS):
        here = level == index
        height = tl.where(here, shapes[2 * index], height)
        width = tl.where(here, shapes[2 * index + 1], width)
        start = tl.where(here, first, start)
        first += shapes[2 * index] * shapes[2 * index + 1]
    return x * width - 0.5, y * height - 0.5, height, width, start


@triton.jit
def _weigh(weights, sample, live, real, SOFTMAX: tl.constexpr, PRECISION: tl.constexpr):
    """Return the weight of every sample, ``softmax`` of the logits over all samples of a query if ``SOFTMAX``."""
    weight = tl.load(weights + sample, mask=live, other=0).to(PRECISION)
    if SOFTMAX:
        weight = tl.where(real, weight, float("-inf"))
        weight = tl.exp(weight - tl.max(weight, 1)[:, None])
        weight = weight / tl.sum(weight, 1)[:, None]
    return weight


@triton.jit
def _corner(column, row, height, width, start, live, RIGHT: tl.constexpr, LOWER: tl.constexpr):
    """Return a neighboring cell: its index, whether it exists, and its bilinear shares in x and y."""
    left = tl.floor(column)
    top = tl.floor(row)
    x = left + RIGHT
    y = top + LOWER
    # Compared as floats, because coordinates far outside overflow an integer.
    inside = live & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    cell = tl.where(inside, y, 0).to(tl.int32) * width.to(tl.int32) + tl.where(inside, x, 0).to(tl.int32)
    share_x = column - left if RIGHT else 1 - (column - left)
    share_y = row - top if LOWER else 1 - (row - top)
    return start.to(tl.int32) + cell, inside, share_x, share_y


@triton.jit
def forward(
    value,
    locations,
    weights,
    result,
    shapes,
    queries,
    heads,
    cells,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    SOFTMAX: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    SAMPLES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute ``result (B, Q, H, C)``: ``BLOCK_Q`` queries of one head of one batch element per program instance.

    ``result[q] = sum over s, c of w[q, s] share_x[q, s, c] share_y[q, s, c] value[cell[q, s, c]]`` over samples ``s``
    and their four corners ``c``, for ``value (B, S, H, C)``, ``locations (B, Q, H, LP, 2)`` and
    ``weights (B, Q, H, LP)``.
    """
    query = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    column_of = tl.arange(0, SAMPLES)[None, :]
    channel = tl.arange(0, BLOCK_C)
    real = column_of < LEVELS * POINTS
    live = (query < queries)[:, None] & real
    row_of = (batch * queries + query) * heads + head
    sample = row_of[:, None] * (LEVELS * POINTS) + column_of
    column, row, height, width, start = _place(locations, sample, live, column_of, shapes, LEVELS, POINTS, PRECISION)
    weight = _weigh(weights, sample, live, real, SOFTMAX, PRECISION)

    maps = value + (batch * cells * heads + head) * CHANNELS + channel[None, None, :]
    total = tl.zeros([BLOCK_Q, SAMPLES, BLOCK_C], PRECISION)
    for corner in tl.static_range(4):
        cell, inside, share_x, share_y = _corner(column, row, height, width, start, live, corner % 2, corner // 2)
        mask = inside[:, :, None] & (channel < CHANNELS)[None, None, :]
        found = tl.load(maps + cell[:, :, None] * (heads * CHANNELS), mask=mask, other=0).to(PRECISION)
        total += found * (share_x * share_y * weight)[:, :, None]
    mask = (query < queries)[:, None] & (channel < CHANNELS)[None, :]
    place = result + row_of[:, None] * CHANNELS + channel[None, :]
    tl.store(place, tl.sum(total, 1).to(result.dtype.element_ty), mask=mask)


@triton.jit
def backward(
    value,
    locations,
    weights,
    gradient,
    value_gradient,
    locations_gradient,
    weights_gradient,
    shapes,
    queries,
    heads,
    cells,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    SOFTMAX: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    SAMPLES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Compute the gradients of the three inputs for ``BLOCK_Q`` queries of one head of one batch element.

    With the upstream gradient ``g`` and ``d[s, c] = <g, value[cell[s, c]]>`` of sample ``s`` and corner ``c``::

        dL/dvalue[cell[s, c]] += w[s] share_x share_y g      (atomic, in PRECISION)
        dL/dw[s]   = sum over c of share_x share_y d[s, c]
        dL/dx[s]   = width  w[s] sum over c of +-share_y d[s, c]
        dL/dy[s]   = height w[s] sum over c of +-share_x d[s, c]
        dL/dlogit[s] = w[s] (dL/dw[s] - sum over s' of w[s'] dL/dw[s'])      if SOFTMAX
    """
    query = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    column_of = tl.arange(0, SAMPLES)[None, :]
    channel = tl.arange(0, BLOCK_C)
    real = column_of < LEVELS * POINTS
    live = (query < queries)[:, None] & real
    row_of = (batch * queries + query) * heads + head
    sample = row_of[:, None] * (LEVELS * POINTS) + column_of
    column, row, height, width, start = _place(locations, sample, live, column_of, shapes, LEVELS, POINTS, PRECISION)
    weight = _weigh(weights, sample, live, real, SOFTMAX, PRECISION)

    mask = (query < queries)[:, None] & (channel < CHANNELS)[None, :]
    above = tl.load(gradient + row_of[:, None] * CHANNELS + channel[None, :], mask=mask, other=0).to(PRECISION)
    above = above[:, None, :]
    maps = (batch * cells * heads + head) * CHANNELS + channel[None, None, :]
    by_weight = tl.zeros([BLOCK_Q, SAMPLES], PRECISION)
    by_column = tl.zeros([BLOCK_Q, SAMPLES], PRECISION)
    by_row = tl.zeros([BLOCK_Q, SAMPLES], PRECISION)
    for corner in tl.static_range(4):
        cell, inside, share_x, share_y = _corner(column, row, height, width, start, live, corner % 2, corner // 2)
        mask = inside[:, :, None] & (channel < CHANNELS)[None, None, :]
        place = maps + cell[:, :, None] * (heads * CHANNELS)
        found = tl.load(value + place, mask=mask, other=0).to(PRECISION)
        product = tl.sum(found * above, 2)
        by_weight += product * share_x * share_y
        by_column += product * share_y * (2 * (corner % 2) - 1)
        by_row += product * share_x * (2 * (corner // 2) - 1)
        # Relaxed order suffices, because nothing reads these sums before the kernel ends.
        tl.atomic_add(
            value_gradient + place, (share_x * share_y * weight)[:, :, None] * above, mask=mask, sem="relaxed"
        )
    kind = locations_gradient.dtype.element_ty
    tl.store(locations_gradient + 2 * sample, (by_column * weight * width).to(kind), mask=live)
    tl.store(locations_gradient + 2 * sample + 1, (by_row * weight * height).to(kind), mask=live)
    if SOFTMAX:
        by_weight = weight * (by_weight - tl.sum(weight * by_weight, 1)[:, None])
    tl.store(weights_gradient + sample, by_weight.to(weights_gradient.dtype.element_ty), mask=live)
