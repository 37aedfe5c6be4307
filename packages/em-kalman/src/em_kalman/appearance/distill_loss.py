"""Distillation of associations learned from motion into another model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from em_kalman.chain import compose_chain
from em_kalman.model import NKFOutput

FORBIDDEN = -1e9  # logit of a padded slot


def distill_loss(student_logits: Tensor, assoc: Tensor, mask: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of a student's associations, such as an appearance model's, from a teacher's.

    ::

        loss = mean_j sum_k P[k, j] (log P[k, j] - log softmax_k(S[k, j]))

    where ``P`` are the teacher's probabilities, ``S`` the student's logits, ``k`` an earlier and ``j`` a later
    detection. This is the appearance stage of Li et al. (arXiv 2411.11514).

    Args:
        student_logits: Student logits ``(..., K, N)``, rows = earlier detections; every column is normalized over the
            rows here.
        assoc: Teacher probabilities ``(..., K, N)``, detached. Columns that sum to less than 1 have less weight.
        mask: Mask ``(..., N)`` bool, False for padded detections; all detections count by default.

    Returns:
        Scalar mean over detections, in nats.

    Raises:
        ValueError: If a logit or probability of a detection is not finite.

    >>> round(distill_loss(torch.zeros(2, 2), torch.eye(2)).item(), 4)  # log 2
    0.6931
    """
    teacher = assoc.detach()
    log_student = student_logits.to(torch.promote_types(student_logits.dtype, torch.float32)).log_softmax(-2)
    by_column = (torch.xlogy(teacher, teacher) - teacher * log_student).sum(-2)
    if mask is None:
        loss = by_column.mean() if by_column.numel() else by_column.sum()
    else:
        loss = by_column.where(mask, 0).sum() / mask.sum().clamp(min=1)
    if not torch.compiler.is_compiling() and not loss.isfinite():
        raise ValueError("student_logits: expected finite numbers, got NaN or infinity; use -1e9 for padded slots")
    return loss


def distill_clip_loss(student_logits: Tensor, output: NKFOutput, valid: Tensor) -> Tensor:
    """Distillation loss for a tracker that associates all boxes of a clip with each other, such as GTR.

    For every box and every other frame, the student's distribution over the boxes of that frame and "nowhere" is
    compared with the teacher's.

    Args:
        student_logits: Student logits ``(M, M)`` between all boxes of all frames of one window, ordered by frame;
            normalized here over the boxes of a frame and 0, the logit of "nowhere".
        output: Output of a trained :class:`em_kalman.NeuralKalmanFilter` for this window.
        valid: Mask ``(1, T, N)`` of the window, with ``M`` valid boxes.

    Returns:
        Scalar mean over boxes and other frames, in nats.

    Raises:
        ValueError: If there is more than one window, or ``student_logits`` does not fit the number of boxes.

    >>> from em_kalman import NeuralKalmanFilter, WindowBatch
    >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]]).expand(1, 3, 1, 4)
    >>> batch = WindowBatch(boxes, torch.ones(1, 3, 1).bool(), torch.tensor([[9, 9]]), torch.arange(3)[None])
    >>> output = NeuralKalmanFilter(dustbin=False)(batch)
    >>> round(distill_clip_loss(torch.zeros(3, 3), output, batch.valid).item(), 4)  # here or nowhere: log 2
    0.6931
    """
    count = int(valid.sum())
    if len(valid) != 1:
        raise ValueError(f"valid: expected one window, got {len(valid)}; call distill_clip_loss for each window")
    if tuple(student_logits.shape) != (count, count):
        raise ValueError(
            f"student_logits must have shape {(count, count)}, one row and column per box, got "
            f"{tuple(student_logits.shape)}"
        )
    _, frames, size = valid.shape
    present, adjacent = valid.flatten(), output.log_plan[0, :, :size, :size].detach().exp()
    shares = adjacent.new_zeros(frames, size, frames, size)
    for frame in range(frames - 1):
        later = compose_chain(adjacent[frame:])[1:]
        shares[frame, :, frame + 1 :] = later.transpose(0, 1)
        shares[frame + 1 :, :, frame] = later.transpose(1, 2)
    teacher = shares.flatten(0, 1)[present]
    given = student_logits.to(torch.promote_types(student_logits.dtype, torch.float32))
    student = given.new_full((count, frames * size), FORBIDDEN)
    student[:, present] = given
    nowhere = (1 - teacher.sum(-1, keepdim=True)).clamp(min=0)
    teacher = torch.cat([teacher, nowhere], -1)
    other = torch.arange(frames, device=valid.device) != present.nonzero() // size
    return distill_loss(
        F.pad(student.view(count, frames, size), (0, 1)).permute(1, 2, 0), teacher.permute(1, 2, 0), other.T
    )
