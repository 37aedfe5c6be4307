"""Hungarian matching of predictions to ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, pairwise_giou
from mot_core.ops.choice import use_kernels
from mot_core.ops.fused import matching_cost
from mot_core.structures import FrameTargets


@dataclass(frozen=True)
class HungarianMatcher:
    """Assign one slot to every object with minimum total cost (DETR, Carion et al. 2020, arXiv:2005.12872, eq. 1).

    The cost of a pair is ``class_weight * focal + l1_weight * L1 - giou_weight * GIoU``, where ``focal`` is the change
    of the focal loss if the slot becomes a positive of the object's class (Zhu et al. 2021, arXiv:2010.04159)::

        focal = -alpha (1 - p)^gamma log p + (1 - alpha) p^gamma log(1 - p)

    Args:
        class_weight: Weight of the class cost.
        l1_weight: Weight of the L1 distance of boxes in [0, 1] coordinates.
        giou_weight: Weight of the generalized IoU.
        alpha: Weight of positives in the focal cost.
        gamma: Exponent of the focal cost.

    >>> boxes = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]]])
    >>> labels = torch.zeros(1, 1, dtype=torch.int64)
    >>> targets = FrameTargets(boxes[:, 1:], labels, labels, torch.ones(1, 1, dtype=torch.bool))
    >>> HungarianMatcher()(torch.zeros(1, 2, 1), boxes, targets)
    tensor([[-1,  0]])
    """

    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0

    @torch.no_grad()
    def __call__(
        self,
        logits: Tensor,
        boxes_cxcywh: Tensor,
        targets: FrameTargets,
        free_slots: Tensor | None = None,
        free_targets: Tensor | None = None,
    ) -> Tensor:
        """Match a batch of frames.

        Args:
            logits: Class logits of shape ``(B, N, K)``.
            boxes_cxcywh: Boxes in [0, 1] of shape ``(B, N, 4)``.
            targets: Ground truth of the same frames.
            free_slots: Boolean mask ``(B, N)`` of the slots that may be matched. None means all.
            free_targets: Boolean mask ``(B, G)`` of the objects to match. None means all valid ones.

        Returns:
            Row in ``targets`` of the object matched to each slot, ``(B, N)`` int64; -1 for none.

        Raises:
            ValueError: If a cost is not finite because the network returned NaN or infinity.
        """
        cost = self.cost(logits, boxes_cxcywh, targets).cpu()
        wanted = (targets.valid if free_targets is None else targets.valid & free_targets).cpu()
        allowed = torch.ones(logits.shape[:2], dtype=torch.bool) if free_slots is None else free_slots.cpu()
        result = torch.full(logits.shape[:2], -1)
        for frame, matrix in enumerate(cost):
            rows, columns = allowed[frame].nonzero().squeeze(1), wanted[frame].nonzero().squeeze(1)
            pairs = matrix[rows][:, columns]
            if not pairs.isfinite().all():
                raise ValueError(f"frame {frame} of the batch cannot be matched: logits or boxes are not finite")
            matched_rows, matched_columns = linear_sum_assignment(pairs.numpy())
            result[frame, rows[matched_rows]] = columns[matched_columns]
        return result.to(logits.device)

    def cost(self, logits: Tensor, boxes_cxcywh: Tensor, targets: FrameTargets) -> Tensor:
        """Cost of every pair, of shape ``(B, N, G)``; columns of padded objects are undefined."""
        if use_kernels(logits) and logits.numel() and targets.labels.numel():
            given = logits.detach(), boxes_cxcywh.detach(), targets.labels, targets.boxes_cxcywh
            weights = self.class_weight, self.l1_weight, self.giou_weight, self.alpha, self.gamma
            cost: Tensor = matching_cost.forward(*given, *map(float, weights))
            return cost
        dtype = torch.promote_types(logits.dtype, torch.float32)
        probability = logits.detach().to(dtype).sigmoid()
        boxes, wanted = boxes_cxcywh.detach().to(dtype), targets.boxes_cxcywh.to(dtype)
        # 1e-8 inside the logarithms, because matchings must equal those of the released detectors exactly.
        positive = self.alpha * (1 - probability) ** self.gamma * -(probability + 1e-8).log()
        negative = (1 - self.alpha) * probability**self.gamma * -(1 - probability + 1e-8).log()
        labels = targets.labels.clamp(min=0)[:, None, :].expand(-1, logits.shape[1], -1)
        focal = (positive - negative).gather(2, labels)
        distance = (boxes[:, :, None] - wanted[:, None]).abs().sum(-1)
        overlap = pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(wanted))
        return self.class_weight * focal + self.l1_weight * distance - self.giou_weight * overlap
