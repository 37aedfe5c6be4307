"""Teaching another model what was learned from motion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from em_kalman.chain import compose_chain
from em_kalman.model import NKFOutput

FORBIDDEN = -1e9  # the logit of a place without a box


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


def distill_clip_loss(student_logits: Tensor, output: NKFOutput, valid: Tensor) -> Tensor:
    """The same for a tracker that associates all boxes of a clip with each other, as GTR does.

    Where is every box in every other frame, or is it nowhere?

    Args:
        student_logits: ``(M, M)`` between all boxes of all frames of one window, frame after frame; normalised here
            over the boxes of a frame and 0, the logit of being nowhere.
        output: of a trained :class:`em_kalman.NeuralKalmanFilter` for this window.
        valid: ``(1, T, N)`` of the window, with ``M`` boxes.

    Returns:
        The mean over boxes and other frames, a number.

    Raises:
        ValueError: there are several windows, or ``student_logits`` does not fit the number of boxes.

    >>> from em_kalman import NeuralKalmanFilter, WindowBatch
    >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]]).expand(1, 3, 1, 4)
    >>> batch = WindowBatch(boxes, torch.ones(1, 3, 1).bool(), torch.tensor([[9, 9]]), torch.arange(3)[None])
    >>> output = NeuralKalmanFilter(dustbin=False)(batch)
    >>> round(distill_clip_loss(torch.zeros(3, 3), output, batch.valid).item(), 4)  # here or nowhere: log 2
    0.6931
    """
    count = int(valid.sum())
    if len(valid) != 1:
        raise ValueError(f"distill_clip_loss takes one window at a time, got {len(valid)}")
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
