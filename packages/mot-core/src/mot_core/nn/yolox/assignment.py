"""SimOTA: assignment of cells to objects by cost, with a number of cells that follows the overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou

CANDIDATES = 10  # cells whose overlaps determine the number of cells of an object
OUTSIDE = 100_000.0  # cost of a cell that is not both within the box and close to its center


@dataclass(frozen=True)
class SimOTA:
    """Simplified optimal transport assignment (Ge et al. 2021, section 2.1), for one image.

    The cost of object ``g`` and cell ``a`` is ``BCE(sqrt(p_obj p_class), class_g) - 3 log IoU``, plus 100,000 if the
    cell's center is not within both the box and a square of five strides around the center of the box. An object takes
    the ``k`` cells of lowest cost, where ``k`` is the sum of its ten largest overlaps, at least 1. A cell that several
    objects want belongs to the one of lowest cost.

    Args:
        radius: Half the side of the square, in strides.
        iou_weight: Weight of the overlap in the cost.

    >>> from mot_core.nn.yolox.head import DecoupledHead
    >>> output = DecoupledHead((8,), (8,), hidden=8)([torch.zeros(1, 8, 4, 4)])
    >>> truth = torch.tensor([[16.0, 16.0, 8.0, 8.0]])
    >>> parts = output.boxes_cxcywh[0], output.objectness[0], output.class_logits[0], output.cells, output.strides
    >>> gt_index, overlap = SimOTA()(*parts, truth, torch.tensor([0]), (32, 32))
    >>> (gt_index >= 0).sum().item()
    1
    """

    radius: float = 2.5
    iou_weight: float = 3.0

    @torch.no_grad()
    def __call__(
        self,
        boxes_cxcywh: Tensor,
        objectness: Tensor,
        class_logits: Tensor,
        cells: Tensor,
        strides: Tensor,
        truth_cxcywh: Tensor,
        labels: Tensor,
        image_size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """Assign the ``A`` cells of an image to its ``G`` objects.

        Args:
            boxes_cxcywh: Predicted boxes in pixels, ``(A, 4)``.
            objectness: Logits of ``(A,)``.
            class_logits: Logits of ``(A, K)``.
            cells: Column and row of the cells, ``(A, 2)``.
            strides: Strides of the cells, ``(A,)``.
            truth_cxcywh: Boxes of the objects in pixels, ``(G, 4)``.
            labels: Their classes, ``(G,)`` int64.
            image_size: Height and width of the image in pixels. The square around the center of an object that has its
                center outside of the image is moved to the border, so that it contains cells.

        Returns:
            Index of the object of each cell ``(A,)`` int64, -1 for none, and its IoU with the predicted box ``(A,)``.
        """
        gt_index = torch.full((len(boxes_cxcywh),), -1, device=boxes_cxcywh.device)
        overlap = boxes_cxcywh.new_zeros(len(boxes_cxcywh))
        if not len(truth_cxcywh):
            return gt_index, overlap
        inside, central = self._geometry(cells, strides, truth_cxcywh, image_size)
        candidates = (inside | central).any(0).nonzero().squeeze(1)
        if not len(candidates):
            return gt_index, overlap
        iou = pairwise_iou(cxcywh_to_xyxy(truth_cxcywh), cxcywh_to_xyxy(boxes_cxcywh[candidates]))
        cost = self._class_cost(objectness[candidates], class_logits[candidates], labels)
        cost = cost - self.iou_weight * torch.log(iou + 1e-8)
        cost = cost + OUTSIDE * ~(inside & central)[:, candidates]
        taken = _cheapest(cost, iou)
        found = taken.any(0)
        owner = taken.to(torch.uint8).argmax(0)[found]
        gt_index[candidates[found]] = owner
        overlap[candidates[found]] = iou[owner, found.nonzero().squeeze(1)].to(overlap.dtype)
        return gt_index, overlap

    def _geometry(
        self, cells: Tensor, strides: Tensor, truth_cxcywh: Tensor, image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return whether the center of each cell is in the box and in the central square of each object, ``(G, A)``."""
        centers = ((cells + 0.5) * strides[:, None])[None]
        middle, half = truth_cxcywh[:, None, :2], truth_cxcywh[:, None, 2:] / 2
        inside = ((centers - middle).abs() < half).all(-1)
        height, width = image_size
        middle = torch.minimum(middle.clamp(min=0), middle.new_tensor([width, height]))
        return inside, ((centers - middle).abs() < self.radius * strides[None, :, None]).all(-1)

    def _class_cost(self, objectness: Tensor, class_logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy ``(G, A)`` of the joint probabilities, which autocast would not allow in half."""
        with torch.autocast(class_logits.device.type, enabled=False):
            wide = torch.float64 if class_logits.dtype == torch.float64 else torch.float32
            joint = (objectness.to(wide).sigmoid()[:, None] * class_logits.to(wide).sigmoid()).sqrt()
            truth = F.one_hot(labels, joint.shape[1]).to(wide)
            shape = (len(labels), *joint.shape)
            entropy = F.binary_cross_entropy(joint[None].expand(shape), truth[:, None].expand(shape), reduction="none")
            return entropy.sum(-1)


def _cheapest(cost: Tensor, iou: Tensor) -> Tensor:
    """Return which cells each object takes, ``(G, A)`` bool, every cell at most once."""
    largest = iou.topk(min(CANDIDATES, iou.shape[1]), dim=1).values
    number = largest.sum(1).long().clamp(min=1)
    order = cost.topk(int(number.max()), dim=1, largest=False).indices
    wanted = torch.arange(order.shape[1], device=cost.device) < number[:, None]
    taken = torch.zeros_like(cost, dtype=torch.bool).scatter_(1, order, wanted)
    contested = taken.sum(0) > 1
    best = torch.zeros_like(taken).scatter_(0, cost.argmin(0, keepdim=True), True)
    return torch.where(contested, best, taken)
