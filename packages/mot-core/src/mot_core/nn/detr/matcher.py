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
    """Assigns one slot to every object so that the summed cost is smallest (Carion et al. 2020, eq. 1).

    The cost of a pair is ``class_weight * focal + l1_weight * L1 - giou_weight * GIoU``, where ``focal`` is the change
    of the focal loss when the slot is called a positive of the object's class (Zhu et al. 2021).

    Args:
        class_weight: weight of the class.
        l1_weight: weight of the distance of boxes, in [0, 1] coordinates.
        giou_weight: weight of the overlap.
        alpha: balance of the focal loss.
        gamma: exponent of the focal loss.

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
        """Matches a batch of frames.

        Args:
            logits: ``(B, N, K)``.
            boxes_cxcywh: ``(B, N, 4)`` in [0, 1].
            targets: ground truth of the same frames.
            free_slots: ``(B, N)`` bool, which slots may be matched; None for all.
            free_targets: ``(B, G)`` bool, which objects are to be matched; None for all that are valid.

        Returns:
            ``(B, N)`` int64, the row of the object in ``targets`` that each slot is matched to; -1 for none.

        Raises:
            ValueError: a cost is not a finite number, because the network gives NaN or infinity.
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
        """``(B, N, G)`` cost of every pair; columns of padded objects mean nothing."""
        if use_kernels(logits) and logits.numel() and targets.labels.numel():
            given = logits.detach(), boxes_cxcywh.detach(), targets.labels, targets.boxes_cxcywh
            weights = self.class_weight, self.l1_weight, self.giou_weight, self.alpha, self.gamma
            cost: Tensor = matching_cost.forward(*given, *map(float, weights))
            return cost
        dtype = torch.promote_types(logits.dtype, torch.float32)
        probability = logits.detach().to(dtype).sigmoid()
        boxes, wanted = boxes_cxcywh.detach().to(dtype), targets.boxes_cxcywh.to(dtype)
        # The focal cost adds 1e-8 inside its logarithms: matchings must equal those of released detectors exactly.
        positive = self.alpha * (1 - probability) ** self.gamma * -(probability + 1e-8).log()
        negative = (1 - self.alpha) * probability**self.gamma * -(1 - probability + 1e-8).log()
        labels = targets.labels.clamp(min=0)[:, None, :].expand(-1, logits.shape[1], -1)
        focal = (positive - negative).gather(2, labels)
        distance = (boxes[:, :, None] - wanted[:, None]).abs().sum(-1)
        overlap = pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(wanted))
        return self.class_weight * focal + self.l1_weight * distance - self.giou_weight * overlap
