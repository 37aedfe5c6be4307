"""Converter for GTR on detectron2, with association logits between all boxes of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.converters._common import ids_at, make_frame

SURE = 1e-4  # minimum distance of probabilities from 0 and 1


def gtr_clip(asso: Tensor, proposals: Sequence[Any], targets: Sequence[Any], match_cues: Tensor) -> TrackClip:
    """Convert a GTR clip; call this in ``_forward_asso`` after its own loss.

    The boxes are proposals without gradient, so the loss trains the association transformer and the ReID head.

    Args:
        asso: Association logits of the last layer between all boxes of all frames, ``(N, N)``.
        proposals: Proposals per frame, with ``proposal_boxes`` (corners in pixels), ``objectness_logits``
            (probabilities in CenterNet) and ``image_size``.
        targets: Targets per frame, with ``gt_boxes`` and ``gt_instance_ids``.
        match_cues: Output ``(N,)`` of ``_get_asso_gt``: the index of a box's object among the sorted identities of the
            clip; negative for none.

    Raises:
        ValueError: If ``asso`` does not fit the number of boxes.

    >>> from types import SimpleNamespace
    >>> boxes = SimpleNamespace(tensor=torch.tensor([[0.0, 0.0, 10.0, 20.0]]))
    >>> proposal = SimpleNamespace(proposal_boxes=boxes, objectness_logits=torch.tensor([0.9]), image_size=(480, 640))
    >>> target = SimpleNamespace(gt_boxes=boxes, gt_instance_ids=torch.tensor([17]))
    >>> clip = gtr_clip(torch.tensor([[9.0, 5.0], [5.0, 9.0]]), [proposal] * 2, [target] * 2, torch.tensor([0, 0]))
    >>> clip.assoc_logits, clip.det_gt
    (tensor([[[[5.]]]]), tensor([[[17],
             [17]]]))
    """
    counts = [len(one.objectness_logits) for one in proposals]
    if tuple(asso.shape) != (sum(counts), sum(counts)):
        raise ValueError(f"asso: expected shape (N, N) with N = {sum(counts)} boxes, got {tuple(asso.shape)}")
    identities = torch.unique(torch.cat([one.gt_instance_ids.long() for one in targets]))
    det_gt = ids_at(identities[identities > -1], match_cues.long())
    blocks = [torch.split(rows, counts, 1)[t + 1] for t, rows in enumerate(torch.split(asso, counts)[:-1])]
    frames = [
        make_frame(
            _tensor(proposal.proposal_boxes),
            torch.logit(proposal.objectness_logits.float(), SURE),
            ids,
            _tensor(target.gt_boxes),
            target.gt_instance_ids.long(),
            None,
        )
        for proposal, target, ids in zip(proposals, targets, torch.split(det_gt, counts), strict=True)
    ]
    return TrackClip.from_frames(frames, proposals[0].image_size, assoc_logits=blocks)


def _tensor(boxes: Any) -> Tensor:
    return boxes.tensor if hasattr(boxes, "tensor") else boxes
