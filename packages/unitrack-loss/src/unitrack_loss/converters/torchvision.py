"""Converter for torchvision's two-stage detectors, such as Faster R-CNN, from sampled proposals."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from unitrack_loss.converters._common import FrameDict, best_per_object, foreground_logit, integers, make_frame


def torchvision_frame(
    boxes_xyxy: Tensor,
    class_logits: Tensor,
    labels: Tensor,
    matched_idxs: Tensor,
    target: Mapping[str, Tensor],
    features: Tensor | None = None,
) -> FrameDict:
    """Convert a frame of a two-stage detector for :meth:`unitrack_loss.TrackClip.from_frames`.

    The detection of an object is its proposal with the largest IoU; background proposals are dropped.

    Args:
        boxes_xyxy: Boxes of the sampled proposals in pixels, ``(n, 4)``. Use the boxes decoded by the box head
            (``box_coder.decode``), because the proposals themselves have no gradient.
        class_logits: Logits of the box head, ``(n, K)``; column 0 is the background.
        labels: Labels from ``select_training_samples``, ``(n,)``, 0 for background.
        matched_idxs: Object of each proposal from ``select_training_samples``, ``(n,)``.
        target: Target of the image: ``boxes (G, 4)`` in pixels and ``track_ids (G,)``, -1 where unknown.
        features: Features of the box head, ``(n, C)``, used as embeddings; None to use boxes only.

    Raises:
        TypeError: If identities are in half precision.

    >>> import torch
    >>> target = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0]]), "track_ids": torch.tensor([5])}
    >>> boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 5.0, 5.0], [20.0, 20.0, 30.0, 30.0]])
    >>> found = torchvision_frame(boxes, torch.zeros(3, 2), torch.tensor([1, 1, 0]), torch.tensor([0, 0, 0]), target)
    >>> found["boxes_xyxy"], found["det_gt"]
    (tensor([[0., 0., 9., 9.]]), tensor([5]))
    """
    ids = integers("target['track_ids']", target["track_ids"])
    rows, objects = best_per_object(boxes_xyxy, matched_idxs.long().where(labels > 0, -1), target["boxes"])
    known = ids[objects] >= 0
    rows, objects = rows[known], objects[known]
    return make_frame(
        boxes_xyxy[rows],
        foreground_logit(class_logits[rows], background=0),
        ids[objects],
        target["boxes"],
        ids,
        None if features is None else features[rows],
    )
