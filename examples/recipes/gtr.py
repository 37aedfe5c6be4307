"""Train an association transformer like that of GTR with the UniTrack loss: docs/recipes/gtr.md.

`_forward_asso` has the names of `gtr/modeling/roi_heads/gtr_roi_heads.py`; the proposals are shaken ground truth, so
that it runs without detector and files: python examples/recipes/gtr.py --steps 200
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from clips import SIZE, Objects, small_backbone, steps_from, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, pairwise_iou
from mot_core.nn import roi_align
from unitrack_loss import UniTrackLoss
from unitrack_loss.converters import gtr_clip

STRIDE = 4
WIDTH = 32


class GTRROIHeads(nn.Module):
    """Features of boxes, and a transformer that scores all pairs of boxes of a clip."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = small_backbone(2, WIDTH)
        self.asso_head = nn.Linear(WIDTH * 9, WIDTH)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.0, batch_first=True)
        self.asso_predictor = nn.Linear(WIDTH, WIDTH)

    def _forward_asso(self, images: Tensor, proposals: list, targets: list) -> dict[str, Tensor]:
        """Return the association loss of GTR, and the UniTrack loss."""
        boxes = [one.proposal_boxes for one in proposals]
        frames = torch.arange(len(boxes)).repeat_interleave(torch.tensor([len(one) for one in boxes]))
        pooled = roi_align(self.backbone(images), torch.cat(boxes), frames, STRIDE, 3)
        features = self.encoder(self.asso_head(pooled.flatten(1))[None])[0]
        asso_outputs = [self.asso_predictor(features) @ features.T]
        counts = [len(one) for one in boxes]
        match_cues = self._get_asso_gt(proposals, targets)
        losses = {"loss_asso": self.association_loss(asso_outputs[-1], match_cues, counts)}
        clip = gtr_clip(asso_outputs[-1], proposals, targets, match_cues)
        losses["loss_unitrack"] = UniTrackLoss()(clip).total
        return losses

    @torch.no_grad()
    def _get_asso_gt(self, proposals: list, targets: list) -> Tensor:
        """Return the object of each box, as an index among the sorted identities of the clip; -1 for none."""
        identities = torch.unique(torch.cat([one.gt_instance_ids for one in targets]))
        cues = []
        for proposal, target in zip(proposals, targets, strict=True):
            overlap, row = pairwise_iou(proposal.proposal_boxes, target.gt_boxes).max(1)
            index = torch.searchsorted(identities, target.gt_instance_ids)[row]
            cues.append(index.where(overlap >= 0.5, -1))
        return torch.cat(cues)

    def association_loss(self, asso: Tensor, match_cues: Tensor, counts: list[int]) -> Tensor:
        """Return the cross-entropy of each box over the boxes of each frame, where a logit of 0 means none."""
        parts = []
        for block, cues in zip(asso.split(counts, 1), match_cues.split(counts), strict=True):
            same = (match_cues[:, None] == cues) & (match_cues[:, None] >= 0)
            wanted = torch.where(same.any(1), same.int().argmax(1), len(cues))
            parts.append(cross_entropy(torch.cat([block, block.new_zeros(len(block), 1)], 1), wanted))
        return torch.stack(parts).mean()


def training_step(heads: GTRROIHeads, images: Tensor, objects: Objects) -> dict[str, Tensor]:
    """Return the losses of a clip, with proposals around the objects."""
    proposals, targets = [], []
    for one in objects:
        boxes = denormalize_boxes(cxcywh_to_xyxy(one["boxes"]), SIZE)
        targets.append(SimpleNamespace(gt_boxes=boxes, gt_instance_ids=one["track_ids"]))
        shaken = boxes + torch.randn_like(boxes)
        proposals.append(
            SimpleNamespace(proposal_boxes=shaken, objectness_logits=torch.full((len(boxes),), 0.9), image_size=SIZE)
        )
    return heads._forward_asso(images, proposals, targets)


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the losses, and return those of each step."""
    steps = steps_from(arguments, "Train an association transformer with the UniTrack loss.")
    torch.manual_seed(0)
    heads = GTRROIHeads()
    return train(heads, lambda images, objects: training_step(heads, images, objects), 4, steps)


if __name__ == "__main__":
    main()
