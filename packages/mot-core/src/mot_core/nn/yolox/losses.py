"""Losses of YOLOX on the cells that SimOTA assigns."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, iou
from mot_core.nn.yolox.assignment import SimOTA
from mot_core.nn.yolox.head import YOLOXOutput
from mot_core.processes import mean_over_processes
from mot_core.structures import FrameTargets


@dataclass(frozen=True, eq=False)
class Assignment:
    """Objects of the cells of a batch of images.

    Attributes:
        gt_index: Row in the targets of the object of each cell, ``(B, A)`` int64; -1 for none.
        iou: Overlap of the predicted box and the object, ``(B, A)``; 0 for none.
    """

    gt_index: Tensor
    iou: Tensor


@dataclass(frozen=True)
class YOLOXCriterion:
    """Assign cells to objects and compute the losses (Ge et al. 2021, section 2.1).

    With the assigned cells ``P`` and all cells ``A``, each sum is divided by ``|P|`` of the whole batch:

    * ``box = box_weight sum_P (1 - IoU^2)``
    * ``object = sum_A BCE(objectness, a in P)``
    * ``class = sum_P BCE(class, IoU of the assignment)``
    * ``l1 = sum_P |offsets - offsets of the object|``, on request

    Args:
        assign: Assignment of the cells of an image.
        box_weight: Weight of the overlap.

    >>> from mot_core.nn.yolox.head import DecoupledHead
    >>> output = DecoupledHead((8,), (8,), hidden=8)([torch.zeros(1, 8, 4, 4)])
    >>> ids = torch.zeros(1, 1, dtype=torch.int64)
    >>> targets = FrameTargets(torch.tensor([[[0.5, 0.5, 0.25, 0.25]]]), ids, ids, ids == 0)
    >>> losses, found = YOLOXCriterion()(output, targets, torch.tensor([[32, 32]]))
    >>> sorted(losses), (found.gt_index >= 0).sum().item()
    (['box', 'class', 'object'], 1)
    """

    assign: SimOTA = field(default_factory=SimOTA)
    box_weight: float = 5.0

    def __call__(
        self, output: YOLOXOutput, targets: FrameTargets, image_size: Tensor, *, l1: bool = False
    ) -> tuple[dict[str, Tensor], Assignment]:
        """Return the weighted losses by name, and the assignment.

        Args:
            output: Predictions for ``B`` images.
            targets: Ground truth of the images.
            image_size: Height and width of the images without padding, of shape ``(B, 2)``.
            l1: Whether to add the L1 loss of the offsets, which the authors do at the end of training.

        Raises:
            ValueError: If an object has a class that the detector does not have.
        """
        truth = denormalize_boxes(targets.boxes_cxcywh.to(output.boxes_cxcywh.dtype), image_size)
        found = self._assign(output, targets, truth, image_size)
        sums = cell_losses(output, found, truth, targets.labels, l1=l1)
        sums["box"] = self.box_weight * sums["box"]
        number = mean_over_processes((found.gt_index >= 0).sum())
        return {name: value / number.to(value.dtype) for name, value in sums.items()}, found

    def _assign(self, output: YOLOXOutput, targets: FrameTargets, truth: Tensor, image_size: Tensor) -> Assignment:
        classes, labels = output.class_logits.shape[-1], targets.labels[targets.valid]
        if len(labels) and int(labels.max()) >= classes:
            raise ValueError(
                f"labels: expected classes 0 to {classes - 1}, got {int(labels.max())}; set num_classes of the detector"
            )
        indices, overlaps = [], []
        for image, size in enumerate(image_size.tolist()):
            valid = targets.valid[image].nonzero().squeeze(1)
            index, overlap = self.assign(
                output.boxes_cxcywh[image], output.objectness[image], output.class_logits[image],
                output.cells, output.strides, truth[image, valid], targets.labels[image, valid], tuple(size),
            )  # fmt: skip
            indices.append(_rows(valid, index))
            overlaps.append(overlap)
        return Assignment(torch.stack(indices), torch.stack(overlaps))


def cell_losses(
    output: YOLOXOutput, found: Assignment, truth_cxcywh: Tensor, labels: Tensor, *, l1: bool = False
) -> dict[str, Tensor]:
    """Return the unweighted sums of the losses over all cells, connected to the graph even if 0.

    Args:
        output: Predictions for ``B`` images.
        found: Objects of the cells.
        truth_cxcywh: Boxes of the objects in pixels, ``(B, G, 4)``.
        labels: Classes of the objects, ``(B, G)`` int64.
        l1: Whether to add the L1 loss of the offsets.

    Returns:
        ``box``, ``object``, ``class`` and, on request, ``l1``; see :class:`YOLOXCriterion`.

    >>> from mot_core.nn.yolox.head import DecoupledHead
    >>> output = DecoupledHead((8,), (8,), hidden=8)([torch.zeros(1, 8, 4, 4)])
    >>> nothing = Assignment(torch.full((1, 16), -1), torch.zeros(1, 16))
    >>> losses = cell_losses(output, nothing, torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64))
    >>> round(losses["object"].item(), 3)  # -16 log 0.99
    0.161
    """
    images, cells = (found.gt_index >= 0).nonzero(as_tuple=True)
    rows = found.gt_index[images, cells]
    objects = truth_cxcywh[images, rows]
    overlap = iou(cxcywh_to_xyxy(output.boxes_cxcywh[images, cells]), cxcywh_to_xyxy(objects))
    classes = output.class_logits[images, cells]
    wanted = F.one_hot(labels[images, rows], classes.shape[-1]) * found.iou[images, cells, None]
    losses = {
        "box": (1 - overlap**2).sum(),
        "object": _entropy(output.objectness, found.gt_index >= 0),
        "class": _entropy(classes, wanted),
    }
    if l1:
        expected = encode_boxes(objects, output.cells[cells], output.strides[cells])
        losses["l1"] = (output.offsets[images, cells].to(expected.dtype) - expected).abs().sum()
    return losses


def encode_boxes(boxes_cxcywh: Tensor, cells: Tensor, strides: Tensor) -> Tensor:
    """Return the offsets ``(N, 4)`` of boxes in pixels at cells: the inverse of :func:`decode_boxes`.

    >>> encode_boxes(torch.tensor([[24.0, 16.0, 8.0, 8.0]]), torch.tensor([[3.0, 2.0]]), torch.tensor([8.0]))
    tensor([[0., 0., 0., 0.]])
    """
    scaled = boxes_cxcywh / strides[:, None]
    return torch.cat([scaled[:, :2] - cells, torch.log(scaled[:, 2:] + 1e-8)], -1)


def _entropy(logits: Tensor, truth: Tensor) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.binary_cross_entropy_with_logits(wide, truth.to(wide.dtype), reduction="sum")


def _rows(valid: Tensor, index: Tensor) -> Tensor:
    """Translate an index into the valid objects to one into all objects."""
    if not len(valid):
        return index
    return valid[index.clamp(min=0)].where(index >= 0, -1)
