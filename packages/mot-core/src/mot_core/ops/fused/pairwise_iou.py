"""Launch and registration of the kernels for the overlap of all pairs of boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mot_core.ops.fused.launch import blocks, flat_batches, on_device, precision

# First and second boxes per program, independent of their number: the number changes with every frame, and each tile
# size is compiled separately.
BLOCK_A, BLOCK_B = 4, 128
NAME = "mot_core::pairwise_iou"


@torch.library.custom_op(NAME, mutates_args=(), schema="(Tensor a_xyxy, Tensor b_xyxy, bool giou) -> Tensor")
def forward(a_xyxy: Tensor, b_xyxy: Tensor, giou: bool) -> Tensor:
    """Return the IoU or generalized IoU ``(B, N, M)`` of corners ``(B, N, 4)`` and ``(B, M, 4)``."""
    from mot_core.ops.triton import pairwise_iou as kernels

    result = _result(a_xyxy, b_xyxy)
    batch, num_a, num_b = result.shape
    grid = (batch * blocks(num_a, BLOCK_A), blocks(num_b, BLOCK_B))
    given = a_xyxy.contiguous(), b_xyxy.contiguous(), result, num_a, num_b
    with on_device(a_xyxy):
        # Without fusion: an unrounded product in a multiply-add makes the IoU of equal boxes exceed 1.
        kernels.forward[grid](*given, **_options(a_xyxy, b_xyxy, giou), enable_fp_fusion=False)
    return result


@torch.library.custom_op(
    f"{NAME}_backward", mutates_args=(), schema="(Tensor gradient, Tensor own, Tensor others, bool giou) -> Tensor"
)
def backward(gradient: Tensor, own: Tensor, others: Tensor, giou: bool) -> Tensor:
    """Return the gradient ``(B, N, 4)`` of ``own (B, N, 4)``, given ``gradient (B, N, M)`` and ``others (B, M, 4)``.

    Overlap is symmetric, so this serves both arguments of the forward pass.
    """
    from mot_core.ops.triton import pairwise_iou as kernels

    batch, num_own, num_others = gradient.shape
    result = own.new_empty(own.shape)
    given = own.contiguous(), others.contiguous(), result, num_own, num_others, *gradient.stride()
    with on_device(own):
        kernels.backward[(batch * blocks(num_own, BLOCK_A),)](gradient, *given, **_options(own, others, giou))
    return result


def _result(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    dtype = a_xyxy.dtype  # half precision is kept
    if dtype in (torch.float32, torch.float64):
        dtype = torch.promote_types(dtype, b_xyxy.dtype)
    return a_xyxy.new_empty((*a_xyxy.shape[:2], b_xyxy.shape[1]), dtype=dtype)


def _options(a: Tensor, b: Tensor, giou: bool) -> dict[str, Any]:
    dtype = torch.promote_types(a.dtype, b.dtype)
    sizes = {"BLOCK_A": BLOCK_A, "BLOCK_B": BLOCK_B, "num_warps": 8 if dtype == torch.float64 else 4}
    return {"GIOU": giou, "PRECISION": precision(dtype), **sizes}


@forward.register_fake
def _(a_xyxy: Tensor, b_xyxy: Tensor, giou: bool) -> Tensor:
    return _result(a_xyxy, b_xyxy)


@backward.register_fake
def _(gradient: Tensor, own: Tensor, others: Tensor, giou: bool) -> Tensor:
    return own.new_empty(own.shape)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a_xyxy, b_xyxy, ctx.giou = inputs
    ctx.save_for_backward(a_xyxy, b_xyxy)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    a_xyxy, b_xyxy = ctx.saved_tensors
    by_a, by_b, _ = ctx.needs_input_grad
    return (
        backward(gradient, a_xyxy, b_xyxy, ctx.giou) if by_a else None,
        backward(gradient.mT, b_xyxy, a_xyxy, ctx.giou) if by_b else None,
        None,
    )


forward.register_autograd(_differentiate, setup_context=_remember)
for _op in (forward, backward):
    _op.register_vmap(flat_batches(_op))
