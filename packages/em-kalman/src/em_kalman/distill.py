"""Teaching another model what was learned from motion."""

from __future__ import annotations

import torch
from torch import Tensor


def distill_loss(student_logits: Tensor, assoc: Tensor, mask: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence from associations to those of a student, such as an appearance model (2.3).

    Args:
        student_logits: ``(..., K, N)``, rows = earlier detections; normalised here over the rows, by columns.
        assoc: ``(..., K, N)`` the teacher's shares; no gradient reaches them. Columns that sum to less than 1 count
            less.
        mask: ``(..., N)`` bool, False for detections that do not exist.

    Returns:
        The mean over detections, a number.

    >>> round(distill_loss(torch.zeros(2, 2), torch.eye(2)).item(), 4)  # log 2
    0.6931
    """
    teacher = assoc.detach()
    log_student = student_logits.to(torch.promote_types(student_logits.dtype, torch.float32)).log_softmax(-2)
    by_column = (torch.xlogy(teacher, teacher) - teacher * log_student).sum(-2)
    if mask is None:
        return by_column.mean() if by_column.numel() else by_column.sum()
    return by_column.where(mask, 0).sum() / mask.sum().clamp(min=1)
