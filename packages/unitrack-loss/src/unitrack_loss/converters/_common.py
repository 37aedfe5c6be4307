"""Shared parts of the converters: selecting detections and their objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, pairwise_iou

FrameDict = dict[str, Tensor]
"""One frame for :meth:`unitrack_loss.TrackClip.from_frames`."""


def query_frame(
    boxes_cxcywh: Tensor,
    logits: Tensor,
    gt_index: Tensor,
    gt_boxes_cxcywh: Tensor,
    gt_ids: Tensor,
    image_size: Sequence[float],
    embed: Tensor | None,
    is_track: Tensor | None = None,
    min_score: float = 0.1,
) -> FrameDict:
    """Create a frame from queries, most of which are background.

    Args:
        boxes_cxcywh: Boxes of the queries in [0, 1], ``(N, 4)``.
        logits: Foreground logits before the sigmoid, ``(N,)``.
        gt_index: Row of the object assigned to each query, ``(N,)``, -1 for none.
        gt_boxes_cxcywh: Boxes of the objects in [0, 1], ``(G, 4)``.
        gt_ids: Identities of the objects, ``(G,)``, -1 where unknown.
        image_size: Image height and width in pixels.
        embed: Embeddings of the queries, ``(N, C)``, or None.
        is_track: Mask ``(N,)`` bool of queries that are kept even without an object.
        min_score: Minimum score of other queries without an object.
    """
    det_gt = ids_at(gt_ids, gt_index)
    candidate = logits.detach().sigmoid() >= min_score
    if is_track is not None:
        candidate = candidate | is_track
    # Queries of objects with an unknown identity are neither correct nor wrong.
    keep = torch.where(gt_index >= 0, det_gt >= 0, candidate)
    boxes, objects = (to_pixels(one, image_size) for one in (boxes_cxcywh, gt_boxes_cxcywh))
    return make_frame(boxes[keep], logits[keep], det_gt[keep], objects, gt_ids, None if embed is None else embed[keep])


def make_frame(
    boxes_xyxy: Tensor, logits: Tensor, det_gt: Tensor, gt_boxes_xyxy: Tensor, gt_ids: Tensor, embed: Tensor | None
) -> FrameDict:
    """Create a frame without the objects of unknown identity."""
    known = gt_ids >= 0
    frame = {
        "boxes_xyxy": boxes_xyxy,
        "logits": logits,
        "det_gt": det_gt,
        "gt_boxes_xyxy": gt_boxes_xyxy[known].to(boxes_xyxy.device),
        "gt_ids": gt_ids[known],
    }
    return frame if embed is None else {**frame, "embed": embed}


def best_per_object(boxes_xyxy: Tensor, gt_index: Tensor, gt_boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Select, for each object, its assigned box with the largest IoU.

    Args:
        boxes_xyxy: Boxes ``(N, 4)``.
        gt_index: Object of each box, ``(N,)``, -1 for none.
        gt_boxes_xyxy: Boxes of the objects, ``(G, 4)``.

    Returns:
        Rows of boxes and rows of objects, ``(n,)`` each, for the objects with an assigned box.
    """
    assigned = gt_index[:, None] == torch.arange(len(gt_boxes_xyxy), device=gt_index.device)
    if not assigned.numel():
        none = gt_index.new_zeros(0)
        return none, none
    overlap: Tensor = pairwise_iou(boxes_xyxy.detach(), gt_boxes_xyxy.to(boxes_xyxy))
    found = assigned.any(0).nonzero()[:, 0]
    return overlap.masked_fill(~assigned, -1).argmax(0)[found], found


def foreground_logit(logits: Tensor, background: int) -> Tensor:
    """Return the logit of "any object class" of a softmax over ``(..., K)`` with a background column.

    >>> foreground_logit(torch.tensor([0.0, 0.0, 1.0]), background=2).sigmoid().item()  # 2 / (2 + e)
    0.42388...
    """
    columns = torch.arange(logits.shape[-1], device=logits.device)
    classes = logits.masked_fill(columns == background % logits.shape[-1], -torch.inf)
    return classes.logsumexp(-1) - logits[..., background]


def product_logit(*logits: Tensor) -> Tensor:
    """Return the logit of the product of probabilities.

    >>> product_logit(torch.tensor(0.0), torch.tensor(0.0)).sigmoid().item()
    0.25
    """
    log_probability = torch.stack([F.logsigmoid(one) for one in logits]).sum(0)
    # 1 - p must not become 0 where the product is certain.
    return log_probability - torch.log(-torch.expm1(log_probability.clamp(max=-1e-6)))


def ids_at(ids: Tensor, index: Tensor) -> Tensor:
    """Return ``ids (G,)`` at ``index (N,)``, and -1 where the index is negative."""
    if not len(ids):
        return torch.full_like(index, -1)
    return ids[index.clamp(min=0)].where(index >= 0, -1)


def to_pixels(boxes_cxcywh: Tensor, image_size: Sequence[float]) -> Tensor:
    """Convert boxes in [0, 1] to corners in pixels; ``image_size`` is (height, width)."""
    height, width = (float(side) for side in image_size)
    return denormalize_boxes(cxcywh_to_xyxy(precise(boxes_cxcywh)), (height, width))


def precise(values: Tensor) -> Tensor:
    """Promote half precision, which cannot represent odd pixel coordinates of large images."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def integers(name: str, ids: Tensor) -> Tensor:
    """Convert identities to int64; raise a TypeError for half precision, which merges large identities."""
    if ids.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(f"{name}: expected integers, got {ids.dtype}, which merges identities above 2048; pass int64")
    return ids.long()
