"""Matching cost between slots and objects: classification, L1 distance and generalized IoU in one pass."""

import triton
import triton.language as tl

from mot_core.ops.triton.pairwise_iou import columns, overlap


@triton.jit
def forward(
    logits,
    boxes,
    labels,
    wanted_boxes,
    cost,
    slots,
    objects,
    classes,
    CLASS: tl.constexpr,
    L1: tl.constexpr,
    GIOU: tl.constexpr,
    ALPHA: tl.constexpr,
    GAMMA: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_G: tl.constexpr,
):
    """Compute ``cost (B, N, G)``: a tile of ``BLOCK_N`` slots and ``BLOCK_G`` objects per program instance.

    With the probability ``p`` of the class of the object (focal loss, Lin et al., ICCV 2017, arXiv:1708.02002, eq. 5)::

        cost = CLASS (-ALPHA (1 - p)^GAMMA log p + (1 - ALPHA) p^GAMMA log(1 - p)) + L1 |b - g|_1 - GIOU giou(b, g)

    for ``logits (B, N, K)`` and boxes ``(B, N, 4)`` and ``(B, G, 4)`` as (cx, cy, w, h).
    """
    batch = tl.program_id(2).to(tl.int64)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    g = tl.program_id(1) * BLOCK_G + tl.arange(0, BLOCK_G)
    slot, wanted = n < slots, g < objects
    inside = slot[:, None] & wanted[None, :]

    label = tl.maximum(tl.load(labels + batch * objects + g, mask=wanted, other=0), 0)
    place = logits + (batch * slots + n[:, None]) * classes + label[None, :]
    logit = tl.load(place, mask=inside, other=0).to(PRECISION)
    probability = 1 / (1 + tl.exp(-tl.abs(logit)))
    probability = tl.where(logit >= 0, probability, 1 - probability)
    complement = 1 - probability
    if GAMMA == 2:
        positive, negative = complement * complement, probability * probability
    else:
        positive, negative = tl.exp(GAMMA * tl.log(complement)), tl.exp(GAMMA * tl.log(probability))
    positive *= -ALPHA * tl.log(probability + 1e-8)
    negative *= -(1 - ALPHA) * tl.log(complement + 1e-8)

    cx, cy, w, h = columns(boxes, batch * slots + n, slot, PRECISION)
    gx, gy, gw, gh = columns(wanted_boxes, batch * objects + g, wanted, PRECISION)
    cx, cy, w, h = cx[:, None], cy[:, None], w[:, None], h[:, None]
    gx, gy, gw, gh = gx[None, :], gy[None, :], gw[None, :], gh[None, :]
    distance = tl.abs(cx - gx) + tl.abs(cy - gy) + tl.abs(w - gw) + tl.abs(h - gh)

    value = overlap(
        cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, gx - gw / 2, gy - gh / 2, gx + gw / 2, gy + gh / 2, True
    )
    total = CLASS * (positive - negative) + L1 * distance - GIOU * value
    tl.store(cost + (batch * slots + n[:, None]) * objects + g[None, :], total, mask=inside)
