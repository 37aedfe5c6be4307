"""Life of tracks at inference: survival, duplicates, births and re-identification of lost tracks."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, nms


def unique_slots(boxes_cxcywh: Tensor, scores: Tensor, slots: Tensor, iou_threshold: float, kept: Tensor) -> Tensor:
    """Remove slots that overlap ``kept`` ones, or slots with a higher score.

    Args:
        boxes_cxcywh: Boxes of shape ``(N, 4)``.
        scores: Scores of shape ``(N,)``.
        slots: Boolean mask of shape ``(N,)``, the slots to test.
        iou_threshold: IoU above which a slot is removed.
        kept: Boolean mask of shape ``(N,)``, the slots that are never removed.

    Returns:
        The remaining ones of ``slots``, ``(N,)``.

    >>> boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1]])
    >>> every = torch.ones(3, dtype=torch.bool)
    >>> unique_slots(boxes, torch.tensor([0.5, 0.6, 0.7]), every, 0.9, ~every)
    tensor([False,  True,  True])
    """
    rows = (slots | kept).nonzero().squeeze(1)
    ranks = scores[rows].masked_fill(kept[rows], float("inf"))
    left = torch.zeros_like(slots)
    left[rows[nms(cxcywh_to_xyxy(boxes_cxcywh[rows]), ranks, iou_threshold)]] = True
    return left & slots


def reidentify(lost: Tensor, born: Tensor, max_distance: float) -> tuple[Tensor, Tensor]:
    """Assign new detections to lost tracks by the Euclidean distance of their embeddings.

    The assignment has the smallest total distance; pairs further apart than ``max_distance`` are discarded.

    Args:
        lost: Embeddings of lost tracks, ``(L, C)``.
        born: Embeddings of detections that would start a track, ``(N, C)``.
        max_distance: Largest distance of a pair. 0 disables the assignment.

    Returns:
        Rows of ``lost`` and of ``born``, two tensors of equal length.

    >>> reidentify(torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 9.0], [3.0, 4.0]]), max_distance=6.0)
    (tensor([0]), tensor([1]))
    """
    if max_distance <= 0 or not len(lost) or not len(born):
        nothing = torch.zeros(0, dtype=torch.int64, device=lost.device)
        return nothing, nothing
    distance = torch.cdist(lost.double(), born.double()).cpu()
    rows, columns = (torch.from_numpy(one) for one in linear_sum_assignment(distance.numpy()))
    near = distance[rows, columns] <= max_distance
    return rows[near].to(lost.device), columns[near].to(lost.device)
