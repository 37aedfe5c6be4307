"""DETR's set loss on every decoder layer: focal loss of the classes, L1 and GIoU losses of the matched boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, giou
from mot_core.nn.detr.detector import DetectorOutput
from mot_core.nn.detr.matcher import HungarianMatcher
from mot_core.processes import mean_over_processes
from mot_core.structures import FrameTargets


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss of every element: ``-alpha_t (1 - p_t)^gamma log p_t`` (Lin et al. 2017, arXiv:1708.02002, eq. 5).

    Args:
        logits: Logits of any shape.
        targets: Labels 1 or 0 of the same shape.
        alpha: Weight of positives; negatives have ``1 - alpha``.
        gamma: Focusing exponent. Higher values down-weight easy examples more.

    >>> round(sigmoid_focal_loss(torch.zeros(1), torch.ones(1)).item(), 4)  # 0.25 * 0.5^2 * log 2
    0.0433
    """
    targets = targets.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    miss = probability + targets - 2 * probability * targets  # 1 - p_t
    return (alpha * targets + (1 - alpha) * (1 - targets)) * miss**gamma * entropy


def detection_losses(
    logits: Tensor,
    boxes_cxcywh: Tensor,
    gt_index: Tensor,
    targets: FrameTargets,
    valid: Tensor | None = None,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> dict[str, Tensor]:
    """Losses of one decoder layer, summed over the batch and not yet divided by the number of boxes.

    Args:
        logits: Class logits of shape ``(B, N, K)``; every slot counts, those without an object as background.
        boxes_cxcywh: Boxes of shape ``(B, N, 4)``; only slots with an object count.
        gt_index: Row in ``targets`` of the object of each slot, ``(B, N)`` int64; -1 for none.
        targets: Ground truth.
        valid: Boolean mask of shape ``(B, N)``, False for slots to ignore. None means all count.
        alpha: Weight of positives in the focal loss.
        gamma: Exponent of the focal loss.

    Returns:
        ``class`` (focal), ``l1`` (of cx, cy, w, h in [0, 1]) and ``giou`` (1 - GIoU), connected to the graph even if 0.

    >>> boxes, labels = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), torch.zeros(1, 1, dtype=torch.int64)
    >>> targets = FrameTargets(boxes, labels, labels, torch.ones(1, 1, dtype=torch.bool))
    >>> losses = detection_losses(torch.zeros(1, 1, 1), boxes + 0.1, labels, targets)
    >>> {name: round(loss.item(), 3) for name, loss in losses.items()}
    {'class': 0.043, 'l1': 0.4, 'giou': 0.913}
    """
    # Computed in at least float32, because the losses are sums over many elements.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    logits, boxes = logits.to(dtype), boxes_cxcywh.to(dtype)
    matched = gt_index >= 0
    if valid is not None:
        matched = matched & valid
    frame, slot = matched.nonzero(as_tuple=True)
    row = gt_index[frame, slot]
    positive = torch.zeros_like(logits)
    positive[frame, slot, targets.labels[frame, row]] = 1
    focal = sigmoid_focal_loss(logits, positive, alpha, gamma)
    if valid is not None:
        focal = focal * valid[..., None]
    found, wanted = boxes[frame, slot], targets.boxes_cxcywh[frame, row].to(dtype)
    return {
        "class": focal.sum(),
        "l1": (found - wanted).abs().sum(),
        "giou": (1 - giou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(wanted))).sum(),
    }


def count_boxes(targets: FrameTargets) -> Tensor:
    """Number of objects in the batch, at least 1; with several processes, the mean over the processes.

    >>> labels = torch.zeros(2, 3, dtype=torch.int64)
    >>> count_boxes(FrameTargets(torch.zeros(2, 3, 4), labels, labels, labels == 0)).item()
    6.0
    """
    return mean_over_processes(targets.valid.sum())


@dataclass(frozen=True)
class SetCriterion:
    """Match every decoder layer to the ground truth and compute its losses.

    Args:
        matcher: Matcher that assigns slots to objects.
        class_weight: Weight of the focal loss.
        l1_weight: Weight of the L1 loss.
        giou_weight: Weight of the GIoU loss.
        alpha: Weight of positives in the focal loss.
        gamma: Exponent of the focal loss.

    >>> layers, labels = torch.zeros(2, 1, 3, 1), torch.zeros(1, 1, dtype=torch.int64)
    >>> boxes = torch.rand(2, 1, 3, 4)
    >>> targets = FrameTargets(boxes[1, :, 2:], labels, labels, torch.ones(1, 1, dtype=torch.bool))
    >>> losses, gt_index = SetCriterion()(DetectorOutput(layers, boxes, boxes, []), targets)
    >>> gt_index[1], sorted(losses)
    (tensor([[-1, -1,  0]]), ['class', 'class_0', 'giou', 'giou_0', 'l1', 'l1_0'])
    """

    matcher: HungarianMatcher = field(default_factory=HungarianMatcher)
    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0

    def __call__(self, output: DetectorOutput, targets: FrameTargets) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the losses of a batch of frames.

        Returns:
            Unweighted losses divided by the number of objects: ``class``, ``l1`` and ``giou`` of the last layer, and of
            earlier layers with the layer number appended (``class_0``). And ``gt_index (layers, B, N)`` int64, the row
            of the object matched to each slot in each layer; -1 for none.
        """
        count = count_boxes(targets)
        last = len(output.logits) - 1
        losses, matchings = {}, []
        for layer, (logits, boxes) in enumerate(zip(output.logits, output.boxes_cxcywh, strict=True)):
            gt_index = self.matcher(logits, boxes, targets)
            suffix = "" if layer == last else f"_{layer}"
            for name, loss in detection_losses(
                logits, boxes, gt_index, targets, alpha=self.alpha, gamma=self.gamma
            ).items():
                losses[name + suffix] = loss / count
            matchings.append(gt_index)
        return losses, torch.stack(matchings)

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the losses.

        >>> SetCriterion().total({"l1": torch.tensor(1.0), "giou_0": torch.tensor(2.0)}).item()
        9.0
        """
        weights = {"class": self.class_weight, "l1": self.l1_weight, "giou": self.giou_weight}
        return torch.stack([weights[name.split("_")[0]] * loss for name, loss in losses.items()]).sum()
