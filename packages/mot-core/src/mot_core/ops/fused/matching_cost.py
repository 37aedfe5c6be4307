"""Launch and registration of the matching cost kernel, which has no gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mot_core.ops.fused.launch import blocks, flat_batches, on_device, power_of_two, precision

BLOCK_N, BLOCK_G = 16, 32
SCHEMA = (
    "(Tensor logits, Tensor boxes_cxcywh, Tensor labels, Tensor wanted_cxcywh, float class_weight, float l1_weight, "
    "float giou_weight, float alpha, float gamma) -> Tensor"
)


@torch.library.custom_op("mot_core::matching_cost", mutates_args=(), schema=SCHEMA)
def forward(
    logits: Tensor,
    boxes_cxcywh: Tensor,
    labels: Tensor,
    wanted_cxcywh: Tensor,
    class_weight: float,
    l1_weight: float,
    giou_weight: float,
    alpha: float,
    gamma: float,
) -> Tensor:
    """Return the cost ``(B, N, G)`` of matching slots to objects; see :class:`mot_core.nn.HungarianMatcher`."""
    from mot_core.ops.triton import matching_cost as kernels

    batch, slots, classes = logits.shape
    objects = labels.shape[1]
    cost = _cost(logits, labels)
    block_n, block_g = min(BLOCK_N, power_of_two(slots)), min(BLOCK_G, power_of_two(objects))
    options = {"CLASS": class_weight, "L1": l1_weight, "GIOU": giou_weight, "ALPHA": alpha, "GAMMA": gamma}
    sizes = {"PRECISION": precision(logits.dtype), "BLOCK_N": block_n, "BLOCK_G": block_g}
    inputs = (one.contiguous() for one in (logits, boxes_cxcywh, labels, wanted_cxcywh))
    grid = (blocks(slots, block_n), blocks(objects, block_g), batch)
    with on_device(logits):
        kernels.forward[grid](*inputs, cost, slots, objects, classes, **options, **sizes)
    return cost


def _cost(logits: Tensor, labels: Tensor) -> Tensor:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.new_empty((*logits.shape[:2], labels.shape[1]), dtype=dtype)


@forward.register_fake
def _(logits: Tensor, boxes_cxcywh: Tensor, labels: Tensor, *_: Any) -> Tensor:
    return _cost(logits, labels)


forward.register_vmap(flat_batches(forward))
