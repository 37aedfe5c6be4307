"""Capacity of objects: of the detections on one object, the assigned one should have the largest score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mot_core.boxes import pairwise_iou
from unitrack_loss.clip import TrackClip
from unitrack_loss.terms.sums import object_boxes

OVERLAP = 0.5  # IoU with an object from which a detection competes for it


@dataclass(frozen=True, eq=False)
class CapacitySums:
    """Sums over the assigned detections of every clip, ``(B,)`` each.

    Attributes:
        total: Sum of the cross-entropies.
        count: Number of assigned detections.
        duplicates: Number of their rivals.
    """

    total: Tensor
    count: Tensor
    duplicates: Tensor


def capacity_sums(clip: TrackClip) -> CapacitySums:
    """Sum the cross-entropy of the assigned detection against the others on the same object, ``(B,)``.

    ::

        -log( exp(l[i]) / (exp(l[i]) + sum_r exp(l[r])) )

    for the detection ``i`` assigned to an object, with logits ``l``, and the rivals ``r`` of the same frame: detections
    without an object whose IoU with the box of the object is at least 0.5. One unit of flow passes through an object,
    so that a second detection of it is a duplicate. The gradients at the logits of one object sum to 0: the term ranks
    detections, and raises or lowers no confidence as a whole.

    Args:
        clip: Cleaned clip.

    >>> ids, boxes = torch.tensor([[[3, -1]]]), torch.tensor([[[[0.0, 0.0, 10.0, 20.0]] * 2]])
    >>> clip = TrackClip(boxes, torch.zeros(1, 1, 2), ids < 9, ids, boxes, ids, torch.tensor([[480, 640]]))
    >>> round(capacity_sums(clip).total.item(), 4)  # log 2
    0.6931
    """
    assigned = clip.det_gt >= 0
    with torch.no_grad():
        overlap = pairwise_iou(object_boxes(clip), clip.boxes_xyxy)
        rivals = (overlap >= OVERLAP) & (clip.valid & ~assigned)[:, :, None] & assigned[..., None]
    candidates = rivals | torch.eye(assigned.shape[2], dtype=torch.bool, device=rivals.device)
    # A softmax over no slots at all has no maximum, and an unassigned slot competes only with itself.
    ranked = clip.logits[:, :, None].where(candidates, -torch.inf)
    loss = ranked.logsumexp(-1) - clip.logits if assigned.shape[2] else clip.logits
    return CapacitySums(loss.where(assigned, 0).sum((1, 2)), assigned.sum((1, 2)), rivals.sum((1, 2, 3)))
