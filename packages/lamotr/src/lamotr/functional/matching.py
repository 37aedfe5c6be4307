"""Assignment of predictions to ground truth, and the target of the association."""

from __future__ import annotations

import torch
from torch import Tensor

from mot_core.nn import HungarianMatcher
from mot_core.structures import FrameTargets


def match_detections(
    logits: Tensor,
    boxes_cxcywh: Tensor,
    gt_boxes_cxcywh: Tensor,
    gt_labels: Tensor,
    gt_valid: Tensor | None = None,
    obj_pad: Tensor | None = None,
    matcher: HungarianMatcher | None = None,
) -> Tensor:
    """Match object predictions to all ground-truth objects, including objects that are already tracked.

    MOTR matches its detection queries to new objects only. LA-MOTR (ICCV 2025, Section 3.3) detects every object in
    every frame, so that the association has an object for each tracklet.

    Args:
        logits: Class logits of the object queries, of shape ``(B, M, C)``.
        boxes_cxcywh: Boxes in [0, 1] of shape ``(B, M, 4)``.
        gt_boxes_cxcywh: Ground-truth boxes in [0, 1] of shape ``(B, G, 4)``.
        gt_labels: Classes of shape ``(B, G)``, int64.
        gt_valid: Boolean mask of shape ``(B, G)``, False for padding. None means all are valid.
        obj_pad: Boolean mask of shape ``(B, M)``, True for padding. None means no padding.
        matcher: Matcher, with weights 2 for classes, 5 for L1 and 2 for GIoU by default.

    Returns:
        Row of the ground truth of each object, of shape ``(B, M)``, int64; -1 for none.

    >>> boxes = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]]])
    >>> match_detections(torch.zeros(1, 2, 1), boxes, boxes[:, 1:], torch.zeros(1, 1, dtype=torch.int64))
    tensor([[-1,  0]])
    """
    valid = torch.ones_like(gt_labels, dtype=torch.bool) if gt_valid is None else gt_valid
    targets = FrameTargets(gt_boxes_cxcywh, gt_labels, torch.full_like(gt_labels, -1), valid)
    free = None if obj_pad is None else ~obj_pad
    return (matcher or HungarianMatcher())(logits, boxes_cxcywh, targets, free_slots=free)


def match_by_id(track_ids: Tensor, gt_ids: Tensor, gt_valid: Tensor | None = None) -> Tensor:
    """Match tracklets to ground truth by identity.

    Args:
        track_ids: Identity of each tracklet, of shape ``(B, K)``; -1 for a tracklet without an object.
        gt_ids: Identities of the ground truth, of shape ``(B, G)``, unique within a frame; -1 for none.
        gt_valid: Boolean mask of shape ``(B, G)``, False for padding. None means all are valid.

    Returns:
        Row of the ground truth of each tracklet, of shape ``(B, K)``, int64; -1 if its object is not in the frame.

    >>> match_by_id(torch.tensor([[7, 5, -1]]), torch.tensor([[4, 7]]))
    tensor([[ 1, -1, -1]])
    """
    same = (track_ids[..., :, None] == gt_ids[..., None, :]) & (track_ids >= 0)[..., None]
    if gt_valid is not None:
        same = same & gt_valid[..., None, :]
    if not same.shape[-1]:
        return torch.full_like(track_ids, -1)
    return torch.where(same.any(-1), same.int().argmax(-1), -1)


def association_targets(obj_match: Tensor, tck_match: Tensor) -> Tensor:
    """Compute the target of the association: whether an object and a tracklet have the same ground truth.

    Every row and column has at most one True. A tracklet whose object has left, or that never had one, has a column of
    False (LA-MOTR, ICCV 2025, Section 3.3).

    Args:
        obj_match: Row of the ground truth of each object, of shape ``(..., M)``; -1 for none.
        tck_match: Row of the ground truth of each tracklet, of shape ``(..., K)``; -1 for none.

    Returns:
        Boolean tensor of shape ``(..., M, K)``.

    >>> association_targets(torch.tensor([2, -1, 0]), torch.tensor([0, -1])).int().tolist()
    [[0, 0], [0, 0], [1, 0]]
    """
    return (obj_match[..., :, None] == tck_match[..., None, :]) & (obj_match >= 0)[..., None]
