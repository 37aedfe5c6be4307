"""Losses of the one-stage CenterNet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, giou, iou
from mot_core.nn.centernet.detector import CenterNetOutput
from mot_core.nn.centernet.targets import center_cells, center_focal_loss, center_heat, class_heat
from mot_core.processes import mean_over_processes
from mot_core.structures import FrameTargets

SPAN = 10.0  # objects up to this many strides (square root of the area) belong to a level, larger ones to a coarser one


@dataclass(frozen=True)
class CenterNetCriterion:
    """Assign cells to objects and compute the losses (Zhou et al. 2021, arXiv:2103.07461, section 4).

    An object belongs to the finest level with ten strides at least the square root of its area. Its heat map has 1 at
    the cell of the center, around which the losses decay; the cells next to it, in the box, predict the box, too.

    * ``heat``: focal loss of the heat maps, divided by the number of objects
    * ``box``: ``box_weight (1 - GIoU)``, mean over the cells with an object

    Args:
        box_weight: Weight of the overlap.

    >>> from mot_core.nn.centernet.detector import CenterHead
    >>> output = CenterHead(16, (8,))([torch.zeros(1, 16, 4, 4)])
    >>> ids = torch.zeros(1, 1, dtype=torch.int64)
    >>> targets = FrameTargets(torch.tensor([[[0.5, 0.5, 0.5, 0.5]]]), ids, ids, ids == 0)
    >>> losses, gt_index, overlap = CenterNetCriterion()(output, targets, torch.tensor([[32, 32]]))
    >>> sorted(losses), (gt_index >= 0).sum().item()
    (['box', 'heat'], 4)
    """

    box_weight: float = 2.0

    def __call__(
        self, output: CenterNetOutput, targets: FrameTargets, image_size: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the weighted losses, the row of the object of each cell ``(B, A)``, and its IoU ``(B, A)``.

        Args:
            output: Predictions for ``B`` images.
            targets: Ground truth of the images.
            image_size: Height and width of the images without padding, of shape ``(B, 2)``.

        Raises:
            ValueError: If an object has a class that the detector does not have.
        """
        check_labels(targets, output.logits.shape[-1])
        boxes = denormalize_boxes(targets.boxes_cxcywh.to(output.boxes_cxcywh.dtype), image_size)
        heats, rows = [], []
        for image, size in enumerate(image_size.tolist()):
            valid = targets.valid[image].nonzero().squeeze(1)
            heat, row = self._assign(output, boxes[image, valid], tuple(size))
            heats.append(class_heat(heat, targets.labels[image, valid], output.logits.shape[-1]))
            rows.append(valid[row.clamp(min=0)].where(row >= 0, -1) if len(valid) else row)
        gt_index = torch.stack(rows)
        images, cells = (gt_index >= 0).nonzero(as_tuple=True)
        predicted = cxcywh_to_xyxy(output.boxes_cxcywh[images, cells])
        wanted = cxcywh_to_xyxy(boxes[images, gt_index[images, cells]])
        objects, positive = mean_over_processes(targets.valid.sum()), mean_over_processes(gt_index.ge(0).sum())
        heat_loss = center_focal_loss(output.logits, torch.stack(heats))
        box_loss = self.box_weight * (1 - giou(predicted, wanted)).sum()
        overlap = torch.zeros_like(gt_index, dtype=predicted.dtype)
        overlap[images, cells] = iou(predicted, wanted).detach()
        losses = {"heat": heat_loss / objects.to(heat_loss), "box": box_loss / positive.to(box_loss)}
        return losses, gt_index, overlap

    @torch.no_grad()
    def _assign(self, output: CenterNetOutput, truth: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the heat ``(G, A)`` of the objects of an image, and the object of each cell ``(A,)``, -1 for none."""
        cells, strides = output.cells, output.strides
        levels = torch.unique(strides)
        large = truth[:, 2:].prod(-1).sqrt()[:, None] > SPAN * levels
        object_strides = levels[large.sum(1).clamp(max=len(levels) - 1)]
        centers = center_cells(truth, object_strides, image_size)
        heat = center_heat(truth, centers, object_strides, cells, strides)
        nothing = torch.full((len(cells),), -1, device=cells.device)
        if not len(truth):
            return heat, nothing
        offset = cells[None] - centers[:, None]
        points = (cells + 0.5) * strides[:, None]
        inside = ((points[None] - truth[:, None, :2]).abs() < truth[:, None, 2:] / 2).all(-1)
        near = (offset.abs() <= 1).all(-1) & (strides == object_strides[:, None])
        own = near & (inside | (offset == 0).all(-1))
        # A cell of several objects belongs to the nearest center, the first of equal ones.
        distance = offset.square().sum(-1).masked_fill(~own, torch.inf)
        return heat, distance.argmin(0).where(own.any(0), nothing)


def check_labels(targets: FrameTargets, num_classes: int) -> None:
    """Check the classes of the objects.

    Raises:
        ValueError: If an object has a class that the detector does not have.
    """
    labels = targets.labels[targets.valid]
    if len(labels) and int(labels.max()) >= num_classes:
        raise ValueError(
            f"labels: expected classes 0 to {num_classes - 1}, got {int(labels.max())}; set num_classes of the detector"
        )
