"""Two-stage detectors of torchvision (Faster R-CNN and its relatives): sampled proposals of one image."""

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
    """A frame of a two-stage detector, for :meth:`unitrack_loss.TrackClip.from_frames`.

    Of the proposals of an object, the detection is the one that covers it best; background is left out.

    Args:
        boxes_xyxy: ``(n, 4)`` of the sampled proposals in pixels, best those that the box head makes of them
            (``box_coder.decode``): proposals themselves have no gradient.
        class_logits: ``(n, K)`` of the box head, column 0 is the background.
        labels: ``(n,)`` of ``select_training_samples``, 0 for background.
        matched_idxs: ``(n,)`` of ``select_training_samples``, the object of each.
        target: of this image, ``boxes (G, 4)`` in pixels and ``track_ids (G,)``, -1 where unknown.
        features: ``(n, C)`` of the box head, in place of an embedding.

    Raises:
        TypeError: identities are in half precision.

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
