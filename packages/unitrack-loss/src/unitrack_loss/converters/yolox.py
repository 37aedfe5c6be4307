"""Converter for YOLOX and ByteTrack, from the anchors that SimOTA assigned to objects."""

from __future__ import annotations

from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy
from unitrack_loss.converters._common import FrameDict, best_per_object, integers, make_frame, precise, product_logit


def yolox_frame(
    outputs: Tensor, fg_mask: Tensor, matched_gt_inds: Tensor, gt_boxes_cxcywh: Tensor, track_ids: Tensor
) -> FrameDict:
    """Convert a frame of YOLOX or ByteTrack for :meth:`unitrack_loss.TrackClip.from_frames`.

    The detection of an object is its anchor with the largest IoU. There is no embedding, so the flow depends on boxes
    alone and the loss trains the detector; the association of ByteTrack has no parameters.

    Args:
        outputs: Outputs of one image as in ``get_losses``, ``(A, 5 + K)``: center and size in pixels of the network
            input, then the objectness logit and the class logits.
        fg_mask: Foreground mask from ``get_assignments``, ``(A,)`` bool.
        matched_gt_inds: Matched objects from ``get_assignments``, ``(num_fg,)``.
        gt_boxes_cxcywh: Boxes of the objects in pixels, ``(G, 4)``: columns 1 to 4 of the labels.
        track_ids: Identities of the objects, ``(G,)`` integers, -1 where unknown. Do not take them from labels in half
            precision.

    Raises:
        TypeError: If identities are in half precision.

    >>> import torch
    >>> outputs = torch.tensor([[50.0, 50, 20, 40, 3, 3], [53.0, 50, 20, 40, 3, 3], [9.0, 9, 5, 5, 3, 3]])
    >>> box = torch.tensor([[52.0, 50.0, 20.0, 40.0]])
    >>> fg_mask, matched = torch.tensor([True, True, False]), torch.tensor([0, 0])
    >>> yolox_frame(outputs, fg_mask, matched, box, torch.tensor([2051]))["boxes_xyxy"]
    tensor([[43., 30., 63., 70.]])
    """
    gt_boxes = cxcywh_to_xyxy(precise(gt_boxes_cxcywh))
    positives = precise(outputs[fg_mask.bool()])
    boxes = cxcywh_to_xyxy(positives[:, :4])
    logits = product_logit(positives[:, 4], positives[:, 5:].max(-1).values)
    ids = integers("track_ids", track_ids)
    rows, objects = best_per_object(boxes, matched_gt_inds.long(), gt_boxes)
    known = ids[objects] >= 0
    rows, objects = rows[known], objects[known]
    return make_frame(boxes[rows], logits[rows], ids[objects], gt_boxes, ids, None)
