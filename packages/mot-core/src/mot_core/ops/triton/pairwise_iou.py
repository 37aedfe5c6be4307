"""Overlap of all pairs of boxes, and its gradient. NaN propagates as in PyTorch.

IoU and generalized IoU (Rezatofighi et al., CVPR 2019, arXiv:1902.09630), with intersection ``I``, union ``U`` and
enclosing box ``C``::

    IoU = I / U,   U = area(a) + area(b) - I
    GIoU = IoU - (C - U) / C

A program instance of the forward kernel computes a tile of pairs; one of the backward kernel handles a few boxes and
loops over all others.
"""

import triton
import triton.language as tl


@triton.jit
def columns(boxes, index, inside, PRECISION: tl.constexpr):
    """Load the four numbers of each box."""
    place = boxes + index * 4
    first = tl.load(place, mask=inside, other=0).to(PRECISION)
    second = tl.load(place + 1, mask=inside, other=0).to(PRECISION)
    third = tl.load(place + 2, mask=inside, other=0).to(PRECISION)
    fourth = tl.load(place + 3, mask=inside, other=0).to(PRECISION)
    return first, second, third, fourth


@triton.jit
def _place(boxes, BLOCK: tl.constexpr):
    """Return the batch element and the boxes of a program; one grid axis for both, as only the first exceeds 65,535."""
    tiles = tl.cdiv(boxes, BLOCK)
    tile = tl.program_id(0)
    return (tile // tiles).to(tl.int64), ((tile % tiles) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)


@triton.jit
def _smaller(one, other):
    return tl.minimum(one, other, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _larger(one, other):
    return tl.maximum(one, other, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _shared_and_hull(low, high, other_low, other_high):
    """Return the lengths of the intersection and of the hull along one axis; negative if boxes do not intersect."""
    shared = _smaller(high, other_high) - _larger(low, other_low)
    hull = _larger(high, other_high) - _smaller(low, other_low)
    return shared, hull


@triton.jit
def _area(width, height):
    """Return width x height, or 0 if a side is negative."""
    return _larger(width, 0) * _larger(height, 0)


@triton.jit
def _divided(numerator, denominator):
    """Divide with rounding as in PyTorch; Triton's float32 division is faster but less exact."""
    if numerator.dtype == tl.float64:
        return numerator / denominator
    else:
        return tl.div_rn(numerator, denominator)


@triton.jit
def overlap(left, top, right, bottom, other_left, other_top, other_right, other_bottom, GIOU: tl.constexpr):
    """Return IoU or generalized IoU, with the operations in the order of ``mot_core.boxes``."""
    width, hull_width = _shared_and_hull(left, right, other_left, other_right)
    height, hull_height = _shared_and_hull(top, bottom, other_top, other_bottom)
    shared = _area(width, height)
    area = _area(right - left, bottom - top)
    union = area + _area(other_right - other_left, other_bottom - other_top) - shared
    result = _divided(shared, tl.where(union > 0, union, 1))
    if GIOU:
        hull = _area(hull_width, hull_height)
        result -= _divided(hull - union, tl.where(hull > 0, hull, 1))
    return result


@triton.jit
def forward(
    a,
    b,
    result,
    num_a,
    num_b,
    GIOU: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """Compute ``result (B, N, M)`` of corners ``(B, N, 4)`` and ``(B, M, 4)``, IoU or GIoU if ``GIOU``.

    A program instance computes a tile of ``BLOCK_A`` x ``BLOCK_B`` pairs of one batch element.
    """
    batch, n = _place(num_a, BLOCK_A)
    m = tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B)
    left, top, right, bottom = columns(a, batch * num_a + n, n < num_a, PRECISION)
    other_left, other_top, other_right, other_bottom = columns(b, batch * num_b + m, m < num_b, PRECISION)
    value = overlap(
        left[:, None], top[:, None], right[:, None], bottom[:, None],
        other_left[None, :], other_top[None, :], other_right[None, :], other_bottom[None, :], GIOU,
    )  # fmt: skip
    inside = (n < num_a)[:, None] & (m < num_b)[None, :]
    tl.store(result + (batch * num_a + n[:, None]) * num_b + m[None, :], value, mask=inside)


@triton.jit
def _taken(gradient, number, other):
    """Return the share of ``number`` in the gradient of max(number, other); half of it if they are equal."""
    return tl.where(number < other, 0, tl.where(number == other, gradient / 2, gradient))


@triton.jit
def _along(by_shared, by_hull, low, high, other_low, other_high, GIOU: tl.constexpr):
    """Return the gradients of both ends of a box along one axis, given those of :func:`_shared_and_hull`."""
    by_low = -_taken(by_shared, low, other_low)
    by_high = _taken(by_shared, other_high, high)
    if GIOU:
        by_low -= _taken(by_hull, other_low, low)
        by_high += _taken(by_hull, high, other_high)
    return by_low, by_high


@triton.jit
def backward(
    gradient,
    own,
    others,
    result,
    num_own,
    num_others,
    batch_stride,
    own_stride,
    other_stride,
    GIOU: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_B: tl.constexpr,
):
    """Compute ``result (B, N, 4)``, the gradient of ``own``, for ``BLOCK_A`` boxes, in a loop over all ``others``.

    With the upstream gradient ``g (B, N, M)``, in any strides, and ``others (B, M, 4)``::

        dIoU/dI = 1 / U,   dIoU/dU = -I / U^2,   dU/dI = -1,   dU/darea(own) = 1
        dGIoU = dIoU + dU / C - U / C^2 dC

    and the chain rule through widths and heights to the corners.
    """
    batch, n = _place(num_own, BLOCK_A)
    here = n < num_own
    left, top, right, bottom = columns(own + batch * num_own * 4, n, here, PRECISION)
    left, top, right, bottom = left[:, None], top[:, None], right[:, None], bottom[:, None]
    width, height = right - left, bottom - top
    area = _area(width, height)
    gradient += batch * batch_stride + n[:, None] * own_stride
    others += batch * num_others * 4

    by_left = tl.zeros([BLOCK_A, BLOCK_B], PRECISION)
    by_top, by_right, by_bottom, by_area = by_left, by_left, by_left, by_left
    for first in range(0, num_others, BLOCK_B):
        m = (first + tl.arange(0, BLOCK_B)).to(tl.int64)
        there = m < num_others
        other_left, other_top, other_right, other_bottom = columns(others, m, there, PRECISION)
        other_left, other_right = other_left[None, :], other_right[None, :]
        other_top, other_bottom = other_top[None, :], other_bottom[None, :]
        inside = here[:, None] & there[None, :]
        by_value = tl.load(gradient + m[None, :] * other_stride, mask=inside, other=0).to(PRECISION)

        shared_width, hull_width = _shared_and_hull(left, right, other_left, other_right)
        shared_height, hull_height = _shared_and_hull(top, bottom, other_top, other_bottom)
        shared = _area(shared_width, shared_height)
        union = area + _area(other_right - other_left, other_bottom - other_top) - shared
        scale = 1 / tl.where(union > 0, union, 1)
        by_shared = by_value * scale
        by_union = tl.where(union > 0, -by_shared * (shared * scale), 0)
        by_hull_width, by_hull_height = by_union, by_union
        if GIOU:
            hull = _area(hull_width, hull_height)
            scale = 1 / tl.where(hull > 0, hull, 1)
            by_excess = by_value * scale
            by_union += by_excess
            by_hull = tl.where(hull > 0, by_excess * ((hull - union) * scale), 0) - by_excess
            by_hull_width = tl.where(hull_width >= 0, by_hull * _larger(hull_height, 0), 0)
            by_hull_height = tl.where(hull_height >= 0, by_hull * _larger(hull_width, 0), 0)
        by_shared -= by_union
        by_area += by_union
        by_width = tl.where(shared_width >= 0, by_shared * _larger(shared_height, 0), 0)
        by_height = tl.where(shared_height >= 0, by_shared * _larger(shared_width, 0), 0)
        by_low, by_high = _along(by_width, by_hull_width, left, right, other_left, other_right, GIOU)
        by_left += by_low
        by_right += by_high
        by_low, by_high = _along(by_height, by_hull_height, top, bottom, other_top, other_bottom, GIOU)
        by_top += by_low
        by_bottom += by_high

    by_own = tl.sum(by_area, 1)[:, None]
    by_width = tl.where(width >= 0, by_own * _larger(height, 0), 0)
    by_height = tl.where(height >= 0, by_own * _larger(width, 0), 0)
    place = result + (batch * num_own + n[:, None]) * 4
    tl.store(place, tl.sum(by_left, 1)[:, None] - by_width, mask=here[:, None])
    tl.store(place + 1, tl.sum(by_top, 1)[:, None] - by_height, mask=here[:, None])
    tl.store(place + 2, tl.sum(by_right, 1)[:, None] + by_width, mask=here[:, None])
    tl.store(place + 3, tl.sum(by_bottom, 1)[:, None] + by_height, mask=here[:, None])
