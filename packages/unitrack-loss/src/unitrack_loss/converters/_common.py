"""What all converters share: which predictions are detections, and of which object."""

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
    """A frame from queries of which most are background.

    Args:
        boxes_cxcywh: ``(N, 4)`` in [0, 1].
        logits: ``(N,)`` for a sigmoid.
        gt_index: ``(N,)`` row of the object of each query, -1 for none.
        gt_boxes_cxcywh: ``(G, 4)``.
        gt_ids: ``(G,)`` identities, -1 where unknown.
        image_size: height and width.
        embed: ``(N, C)``.
        is_track: ``(N,)`` bool, kept even without an object.
        min_score: others without an object are kept from this score.
    """
    det_gt = ids_at(gt_ids, gt_index)
    candidate = logits.detach().sigmoid() >= min_score
    if is_track is not None:
        candidate = candidate | is_track
    # Queries of objects without identity are neither right nor wrong.
    keep = torch.where(gt_index >= 0, det_gt >= 0, candidate)
    boxes, objects = (to_pixels(one, image_size) for one in (boxes_cxcywh, gt_boxes_cxcywh))
    return make_frame(boxes[keep], logits[keep], det_gt[keep], objects, gt_ids, None if embed is None else embed[keep])


def make_frame(
    boxes_xyxy: Tensor, logits: Tensor, det_gt: Tensor, gt_boxes_xyxy: Tensor, gt_ids: Tensor, embed: Tensor | None
) -> FrameDict:
    """A frame, without the objects whose identity is unknown."""
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
    """Of all boxes that were assigned to an object, the one that covers it best.

    Args:
        boxes_xyxy: ``(N, 4)``.
        gt_index: ``(N,)`` object of each box, -1 for none.
        gt_boxes_xyxy: ``(G, 4)``.

    Returns:
        Rows of boxes and rows of objects, ``(n,)`` each: those objects that have a box.
    """
    assigned = gt_index[:, None] == torch.arange(len(gt_boxes_xyxy), device=gt_index.device)
    if not assigned.numel():
        none = gt_index.new_zeros(0)
        return none, none
    overlap: Tensor = pairwise_iou(boxes_xyxy.detach(), gt_boxes_xyxy.to(boxes_xyxy))
    found = assigned.any(0).nonzero()[:, 0]
    return overlap.masked_fill(~assigned, -1).argmax(0)[found], found


def foreground_logit(logits: Tensor, background: int) -> Tensor:
    """The logit of "an object, whichever class", of a softmax over ``(..., K)`` with a column for the background.

    >>> foreground_logit(torch.tensor([0.0, 0.0, 1.0]), background=2).sigmoid().item()  # 2 / (2 + e)
    0.42388...
    """
    columns = torch.arange(logits.shape[-1], device=logits.device)
    classes = logits.masked_fill(columns == background % logits.shape[-1], -torch.inf)
    return classes.logsumexp(-1) - logits[..., background]


def product_logit(*logits: Tensor) -> Tensor:
    """The logit of the product of probabilities.

    >>> product_logit(torch.tensor(0.0), torch.tensor(0.0)).sigmoid().item()
    0.25
    """
    log_probability = torch.stack([F.logsigmoid(one) for one in logits]).sum(0)
    # 1 - p, which must not become 0 where the product is sure.
    return log_probability - torch.log(-torch.expm1(log_probability.clamp(max=-1e-6)))


def ids_at(ids: Tensor, index: Tensor) -> Tensor:
    """``ids (G,)`` at ``index (N,)``, -1 where this is negative."""
    if not len(ids):
        return torch.full_like(index, -1)
    return ids[index.clamp(min=0)].where(index >= 0, -1)


def to_pixels(boxes_cxcywh: Tensor, image_size: Sequence[float]) -> Tensor:
    """Corners in pixels of boxes in [0, 1]; ``image_size`` is height and width."""
    height, width = (float(side) for side in image_size)
    return denormalize_boxes(cxcywh_to_xyxy(precise(boxes_cxcywh)), (height, width))


def precise(values: Tensor) -> Tensor:
    """At least in single precision: in half, a large image has no odd pixels."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def integers(name: str, ids: Tensor) -> Tensor:
    """Identities as int64, refused where half precision has spoilt them."""
    if ids.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(f"{name} must not be {ids.dtype}: identities above 2048 run together in it; pass integers")
    return ids.long()
