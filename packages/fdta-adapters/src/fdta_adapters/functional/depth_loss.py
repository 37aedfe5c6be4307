"""Focal loss on depth bins, with a higher weight for objects than for background."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def depth_focal(
    logits: Tensor, target: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, smoothing: float = 0.0
) -> Tensor:
    """Softmax focal loss of each pixel: ``-alpha (1 - p_k)^gamma log p_k`` for the target bin ``k``.

    Args:
        logits: Logits of the bins, of shape ``(B, D + 1, h, w)``.
        target: Target bins of shape ``(B, h, w)``, int64.
        alpha: Factor of the loss.
        gamma: Exponent; higher values ignore pixels that are already right. 0 with ``alpha=1`` is cross-entropy.
        smoothing: Weight of the same loss of *every* bin, added to that of the target. The released code uses 1e-6.

    Returns:
        Losses of shape ``(B, h, w)``, in at least float32.

    >>> depth_focal(torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1).long(), alpha=1.0, gamma=0.0).item()
    1.3862943649291992
    """
    log_p = F.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), 1)

    def focal(log_p: Tensor) -> Tensor:
        return -alpha * (1 - log_p.exp()).pow(gamma) * log_p

    loss = focal(log_p.gather(1, target[:, None])[:, 0])
    return loss + smoothing * focal(log_p).sum(1) if smoothing else loss


def depth_loss(
    logits: Tensor,
    target: Tensor,
    foreground: Tensor,
    valid: Tensor | None = None,
    *,
    foreground_weight: float = 7.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Sum the focal losses of all valid pixels, weighted by ``foreground_weight`` within objects (FDTA, Eq. 1).

    Args:
        logits: Logits of the bins, of shape ``(B, D + 1, h, w)``.
        target: Target bins of shape ``(B, h, w)``, int64.
        foreground: Boolean mask of shape ``(B, h, w)``, True where a pixel belongs to an object.
        valid: Boolean mask of shape ``(B, h, w)``; logits and targets of other pixels have no effect. None: all.
        foreground_weight: Weight of foreground pixels; background has weight 1.
        alpha: See :func:`depth_focal`.
        gamma: See :func:`depth_focal`.
        smoothing: See :func:`depth_focal`.

    Returns:
        The sum and the number of valid pixels; the loss of the paper is their quotient.

    >>> mask = torch.tensor([[[True, False]]])
    >>> total, count = depth_loss(torch.zeros(1, 2, 1, 2), mask.long(), mask, alpha=1.0, gamma=0.0)
    >>> round(total.item() / count.item(), 4)  # (7 + 1) log(2) / 2
    2.7726
    """
    if valid is None:
        valid = torch.ones_like(foreground)
    # Masked before the softmax: NaN of an invalid pixel would reach the gradient of its logits.
    loss = depth_focal(
        logits.where(valid[:, None], 0), target.where(valid, 0), alpha=alpha, gamma=gamma, smoothing=smoothing
    )
    weight = torch.where(foreground, foreground_weight, 1.0).to(loss)
    return (weight * loss).where(valid, 0).sum(), valid.sum()
