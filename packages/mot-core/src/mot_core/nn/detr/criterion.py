"""The set loss of DETR: focal loss of classes, L1 and GIoU of matched boxes, on every decoder layer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, giou
from mot_core.nn.detr.detector import DetectorOutput
from mot_core.nn.detr.matcher import HungarianMatcher
from mot_core.structures import FrameTargets


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss of every element (Lin et al. 2017, eq. 5): ``-alpha_t (1 - p_t)^gamma log p_t``.

    Args:
        logits: ``(...)``.
        targets: ``(...)``, 1 or 0.
        alpha: weight of positives; negatives have ``1 - alpha``.
        gamma: exponent.

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
    """Losses of one layer, summed over the batch and not yet divided by the number of boxes.

    Args:
        logits: ``(B, N, K)``; every slot counts, those without an object as background.
        boxes_cxcywh: ``(B, N, 4)``; slots with an object count.
        gt_index: ``(B, N)`` int64, row of the object in ``targets``, -1 for none.
        targets: ground truth.
        valid: ``(B, N)`` bool, False for slots that count nowhere; None for all.
        alpha: balance of the focal loss.
        gamma: exponent of the focal loss.

    Returns:
        ``class`` (focal), ``l1`` (of cx, cy, w, h in [0, 1]) and ``giou`` (1 - GIoU); with gradient also when 0.

    >>> boxes, labels = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), torch.zeros(1, 1, dtype=torch.int64)
    >>> targets = FrameTargets(boxes, labels, labels, torch.ones(1, 1, dtype=torch.bool))
    >>> losses = detection_losses(torch.zeros(1, 1, 1), boxes + 0.1, labels, targets)
    >>> {name: round(loss.item(), 3) for name, loss in losses.items()}
    {'class': 0.043, 'l1': 0.4, 'giou': 0.913}
    """
    # Rarely so many objects that half precision would do: losses are sums.
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
    """Objects in the batch, at least 1; with several processes their mean.

    >>> labels = torch.zeros(2, 3, dtype=torch.int64)
    >>> count_boxes(FrameTargets(torch.zeros(2, 3, 4), labels, labels, labels == 0)).item()
    6.0
    """
    return mean_over_processes(targets.valid.sum())


def mean_over_processes(count: Tensor) -> Tensor:
    """The mean of a count over the processes of a training, at least 1.

    A sum of losses divided by it has the gradient of one process with the whole batch, once DDP has averaged it.

    >>> mean_over_processes(torch.tensor(0)).item()
    1.0
    """
    count = count.float()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=1)


@dataclass(frozen=True)
class SetCriterion:
    """Matches every decoder layer to the ground truth and sums its losses.

    Args:
        matcher: assigns slots to objects.
        class_weight: weight of the focal loss.
        l1_weight: weight of the L1 loss.
        giou_weight: weight of the GIoU loss.
        alpha: balance of the focal loss.
        gamma: exponent of the focal loss.

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
        """Losses of a batch of frames.

        Returns:
            The losses divided by the number of objects, not weighted: ``class``, ``l1`` and ``giou`` of the last
            layer, with the layer's number (``class_0``) for the earlier ones. And ``gt_index (layers, B, N)`` int64,
            the row of the object that each slot of each layer was matched to, -1 for none.
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
        """The weighted sum.

        >>> SetCriterion().total({"l1": torch.tensor(1.0), "giou_0": torch.tensor(2.0)}).item()
        9.0
        """
        weights = {"class": self.class_weight, "l1": self.l1_weight, "giou": self.giou_weight}
        return torch.stack([weights[name.split("_")[0]] * loss for name, loss in losses.items()]).sum()
