"""Self-attention over two groups of tokens, with a bias for every pair across the groups and weights to read back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.ops.choice import use_kernels
from mot_core.ops.fused import pair_bias_attention as fused


def pair_bias_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, padding: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Attend among ``M`` objects and ``K`` tracklets, and return the weights between objects and tracklets.

    Attention of one head over the ``N = M + K`` tokens, objects first, where ``b`` is the bias of the head:

    .. math::

        A = \operatorname{softmax}\left(\frac{Q K^\top}{\sqrt{D}} + \begin{bmatrix} 0 & b \\ b^\top & 0 \end{bmatrix}
        \right), \qquad Y = A V

    This is the self-attention of edge-augmented transformers (EGT, Hussain et al., KDD 2022, arXiv:2108.03348) with
    edges between the two groups only, as in LA-MOTR (ICCV 2025). Only the two blocks ``A[:M, M:]`` and ``A[M:, :M]``
    are returned, so the kernel never stores an ``N x N`` matrix.

    Half precision is computed in float32; ``Y`` has the dtype of ``value``, the weights have at least float32.

    Args:
        query: Queries of shape ``(B, N, H, D)`` for ``H`` heads.
        key: Keys of shape ``(B, N, H, D)``.
        value: Values of shape ``(B, N, H, D)``.
        bias: Bias of every pair of object and tracklet, of shape ``(B, M, K, H)``, added to the logits in both
            directions.
        padding: Boolean mask of shape ``(B, N)``, True for tokens that no other token attends to and whose results are
            0. Their values have no effect, even if they are not finite.

    Returns:
        The result of shape ``(B, N, H * D)``, with the heads concatenated in order; the weights of tracklets for each
        object, ``A[:M, M:]`` of shape ``(B, M, K, H)``; and the weights of objects for each tracklet, transposed,
        ``A[M:, :M]^T`` of shape ``(B, M, K, H)``.

    Raises:
        ValueError: If the shapes do not match.

    >>> tokens = torch.zeros(1, 3, 1, 1)  # two objects and one tracklet, with equal keys
    >>> bias = torch.tensor([2.0, 0.0]).log().reshape(1, 2, 1, 1).clamp(min=0)
    >>> _, forth, back = pair_bias_attention(tokens, tokens, tokens, bias)
    >>> forth.flatten(), back.flatten()
    (tensor([0.5000, 0.3333]), tensor([0.5000, 0.2500]))
    """
    _check(query, key, value, bias, padding)
    if use_kernels(value) and value.numel() and fused.fits(value.shape[3]):
        result, weights, _ = fused.forward(query, key, value, bias, padding)
        return result, weights[:, 0], weights[:, 1]
    return reference(query, key, value, bias, padding)


def reference(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, padding: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute :func:`pair_bias_attention` in PyTorch, for validated arguments.

    >>> one = torch.ones(1, 2, 1, 1)
    >>> [result.flatten().tolist() for result in reference(one, one, one, torch.zeros(1, 1, 1, 1))]
    [[1.0, 1.0], [0.5], [0.5]]
    """
    objects, tracklets = bias.shape[1:3]
    dtype = torch.promote_types(value.dtype, torch.float32)
    with torch.autocast(value.device.type, enabled=False):
        queries, keys, values = (_clean(x, padding).to(dtype).transpose(1, 2) for x in (query, key, value))
        pairs = bias.to(dtype).permute(0, 3, 1, 2)
        if padding is not None:
            pairs = pairs.masked_fill((padding[:, :objects, None] | padding[:, None, objects:])[:, None], 0)
        block = F.pad(pairs, (objects, 0, 0, tracklets))  # upper right block of the N x N matrix
        logits = queries @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5 + block + block.transpose(-1, -2)
        if padding is not None:
            # Not -inf, because a row without any key would be NaN.
            logits = logits.masked_fill(padding[:, None, None, :], torch.finfo(dtype).min)
        weights = logits.softmax(-1)
        if padding is not None:
            weights = weights.masked_fill((padding[:, :, None] | padding[:, None, :])[:, None], 0)
        result = (weights @ values).transpose(1, 2).flatten(2).to(value.dtype)
        forth = weights[:, :, :objects, objects:].permute(0, 2, 3, 1)
        back = weights[:, :, objects:, :objects].permute(0, 3, 2, 1)
    return result, forth, back


def _clean(x: Tensor, padding: Tensor | None) -> Tensor:
    return x if padding is None else x.masked_fill(padding[:, :, None, None], 0)


def _check(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, padding: Tensor | None) -> None:
    if query.ndim != 4 or not query.shape == key.shape == value.shape:
        shapes = ", ".join(str(tuple(one.shape)) for one in (query, key, value))
        raise ValueError(f"query, key and value must have one shape (B, N, H, D), got {shapes}")
    batch, tokens, heads, _ = query.shape
    if bias.ndim != 4 or (bias.shape[0], bias.shape[3]) != (batch, heads) or sum(bias.shape[1:3]) != tokens:
        raise ValueError(
            f"bias must have shape (B, M, K, H) with B, H = {batch}, {heads} and M + K = {tokens}, got "
            f"{tuple(bias.shape)}"
        )
    if padding is not None and (tuple(padding.shape) != (batch, tokens) or padding.dtype != torch.bool):
        raise ValueError(
            f"padding must be a bool tensor of shape {(batch, tokens)}, got {padding.dtype} of shape "
            f"{tuple(padding.shape)}"
        )
