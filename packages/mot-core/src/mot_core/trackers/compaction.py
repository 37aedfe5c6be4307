"""Few slots from many cells: one cell per object in training, and non-maximum suppression in tracking."""

from __future__ import annotations

import torch
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, nms
from mot_core.nn import DenseOutput


@torch.no_grad()
def cell_of_each_object(gt_index: Tensor, quality: Tensor, num_objects: int) -> Tensor:
    """Return the cell of highest quality among those of each object, ``(B, G)``; -1 for objects without cells.

    Args:
        gt_index: Row of the object of each cell, ``(B, A)`` int64; -1 for none.
        quality: Quality of each cell for its object, ``(B, A)``. The first of equal cells wins.
        num_objects: Number of rows ``G``.

    >>> cell_of_each_object(torch.tensor([[0, -1, 0, 2]]), torch.tensor([[0.3, 0.9, 0.6, 0.1]]), 3)
    tensor([[ 2, -1,  3]])
    """
    own = gt_index[:, None, :] == torch.arange(num_objects, device=gt_index.device)[None, :, None]
    value = torch.where(own, quality[:, None, :], -torch.inf)
    return value.argmax(-1).where(own.any(-1), -1)


@torch.no_grad()
def choose_slots(
    output: DenseOutput,
    gt_index: Tensor,
    quality: Tensor,
    num_objects: int,
    extra_negatives: int,
    *,
    nms_threshold: float = 0.7,
    max_candidates: int = 1000,
) -> tuple[Tensor, Tensor]:
    """Choose the slots of a frame in training: the best cell of every object, and the strongest false detections.

    A false detection is a cell without an object that is a detection in tracking, too: no stronger detection and no
    chosen cell overlaps it by more than the threshold.

    Args:
        output: Predictions for ``B`` images.
        gt_index: Row of the object of each cell, ``(B, A)`` int64; -1 for none.
        quality: Quality of each cell for its object, ``(B, A)``.
        num_objects: Number of rows of the targets.
        extra_negatives: Largest number of false detections.
        nms_threshold: IoU above which the weaker of two detections is dropped.
        max_candidates: Number of the strongest cells that are compared.

    Returns:
        Cells ``(B, N)``, in the order of the objects, and a boolean mask ``(B, N)``, False where padded.

    >>> boxes = torch.tensor([[[9.0, 9, 8, 8], [9, 9, 8, 9], [9, 9, 9, 9], [50, 50, 8, 8]]])
    >>> output = DenseOutput(boxes, torch.tensor([[[1.0], [2.0], [3.0], [0.5]]]), None)
    >>> choose_slots(output, torch.tensor([[0, 0, -1, -1]]), torch.tensor([[0.5, 0.9, 0, 0]]), 1, 5)
    (tensor([[1, 3]]), tensor([[True, True]]))
    """
    rows = []
    for image, cells in enumerate(cell_of_each_object(gt_index, quality, num_objects)):
        chosen = cells[cells >= 0]
        if extra_negatives:
            scores = output.logits[image].amax(-1)
            strongest = scores.masked_fill(gt_index[image] >= 0, -torch.inf).topk(min(max_candidates, len(scores)))
            free = strongest.indices[strongest.values.isfinite()]
            both = torch.cat([chosen, free])
            order = torch.cat([torch.full_like(scores[chosen], torch.inf), scores[free]])
            kept = both[nms(cxcywh_to_xyxy(output.boxes_cxcywh[image, both]), order, nms_threshold)]
            chosen = torch.cat([chosen, kept[gt_index[image, kept] < 0][:extra_negatives]])
        rows.append(chosen)
    cells = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return cells.clamp(min=0), cells >= 0


@torch.no_grad()
def suppress(
    output: DenseOutput, score_threshold: float, *, nms_threshold: float = 0.7, max_candidates: int = 1000
) -> Tensor:
    """Return the cells of the detections in the first image ``(N,)``, in descending order of scores.

    Args:
        output: Predictions for one image.
        score_threshold: Lowest score of a detection.
        nms_threshold: IoU with a stronger detection of its class above which a detection is dropped.
        max_candidates: Number of the strongest cells that are compared.

    >>> boxes = torch.tensor([[[9.0, 9, 8, 8], [9, 9, 8, 9], [50, 50, 8, 8], [90, 90, 8, 8]]])
    >>> suppress(DenseOutput(boxes, torch.tensor([[[1.0], [2.0], [0.5], [-9.0]]]), None), 0.1)
    tensor([1, 2])
    """
    scores, classes = output.logits[0].sigmoid().max(-1)
    strongest = scores.topk(min(max_candidates, len(scores)))
    cells = strongest.indices[strongest.values >= score_threshold]
    boxes = cxcywh_to_xyxy(output.boxes_cxcywh[0, cells])
    return cells[nms(boxes, scores[cells], nms_threshold, classes[cells])]
