"""Cost of matching every slot to every object: class, distance and overlap of boxes in one pass."""

import triton
import triton.language as tl


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
    """``cost (B, N, G)`` of ``logits (B, N, K)``, boxes ``(B, N, 4)`` and ``(B, G, 4)`` as cx, cy, w, h."""
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

    box = boxes + (batch * slots + n) * 4
    cx = tl.load(box, mask=slot, other=0).to(PRECISION)[:, None]
    cy = tl.load(box + 1, mask=slot, other=0).to(PRECISION)[:, None]
    w = tl.load(box + 2, mask=slot, other=0).to(PRECISION)[:, None]
    h = tl.load(box + 3, mask=slot, other=0).to(PRECISION)[:, None]
    box = wanted_boxes + (batch * objects + g) * 4
    gx = tl.load(box, mask=wanted, other=0).to(PRECISION)[None, :]
    gy = tl.load(box + 1, mask=wanted, other=0).to(PRECISION)[None, :]
    gw = tl.load(box + 2, mask=wanted, other=0).to(PRECISION)[None, :]
    gh = tl.load(box + 3, mask=wanted, other=0).to(PRECISION)[None, :]
    distance = tl.abs(cx - gx) + tl.abs(cy - gy) + tl.abs(w - gw) + tl.abs(h - gh)

    left, right, top, bottom = cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2
    gleft, gright, gtop, gbottom = gx - gw / 2, gx + gw / 2, gy - gh / 2, gy + gh / 2
    width = tl.maximum(tl.minimum(right, gright) - tl.maximum(left, gleft), 0)
    height = tl.maximum(tl.minimum(bottom, gbottom) - tl.maximum(top, gtop), 0)
    area = tl.maximum(right - left, 0) * tl.maximum(bottom - top, 0)
    union = area + tl.maximum(gright - gleft, 0) * tl.maximum(gbottom - gtop, 0) - width * height
    hull_width = tl.maximum(tl.maximum(right, gright) - tl.minimum(left, gleft), 0)
    hull = hull_width * tl.maximum(tl.maximum(bottom, gbottom) - tl.minimum(top, gtop), 0)
    overlap = width * height / tl.where(union > 0, union, 1) - (hull - union) / tl.where(hull > 0, hull, 1)

    total = CLASS * (positive - negative) + L1 * distance - GIOU * overlap
    tl.store(cost + (batch * slots + n[:, None]) * objects + g[None, :], total, mask=inside)
