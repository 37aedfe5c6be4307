"""Train the learned association of LA-MOTR for other trackers: docs/recipes/lamotr.md.

The functions `associate_...` are those of the page, for the tensors of MOTR, MeMOTR, TrackFormer and detectors without
tracks. The script trains the last one on the objects of synthetic clips, with features of a small network:
python examples/recipes/learned_association.py --steps 200
"""

# ruff: noqa: ANN001, ANN201, ANN202, B905, D103 - the functions are short on the page
from __future__ import annotations

import torch
from clips import SIZE, Objects, small_backbone, steps_from, train
from torch import Tensor, nn

from lamotr import (
    SGLA,
    SGLASettings,
    association_loss,
    association_targets,
    match_by_id,
    match_detections,
)
from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes
from mot_core.nn import roi_align

STRIDE = 4
WIDTH = 32


def associate_motr(sgla, tracks, truth, num_queries=300):
    obj, tck = tracks[:num_queries], tracks[num_queries:]
    boxes = obj.pred_boxes.detach(), tck.pred_boxes.detach()
    output = sgla(obj.output_embedding[None], tck.output_embedding[None], boxes[0][None], boxes[1][None])
    obj_match = match_detections(obj.pred_logits[None], boxes[0][None], truth.boxes[None], truth.labels[None])
    tck_match = match_by_id(tck.obj_idxes[None].long(), truth.obj_ids[None].long())
    loss = association_loss(output.score_logits, association_targets(obj_match, tck_match))
    return output, obj_match[0], loss


def associate_memotr(sgla, res, ids, truth, box_head, num_queries=300):
    def split(values):
        return values[:, :num_queries], values[:, num_queries:]

    pads = split(res["query_mask"])
    output = sgla(*split(res["outputs"]), *split(res["last_ref_pts"].sigmoid()), *pads, box_head=box_head)
    logits, boxes = (split(res[name])[0] for name in ("pred_logits", "pred_bboxes"))
    obj_match = match_detections(logits, boxes, truth["boxes"], truth["labels"], truth["valid"])
    target = association_targets(obj_match, match_by_id(ids, truth["ids"], truth["valid"]))
    loss = association_loss(output.score_logits, target, ~(pads[0][:, :, None] | pads[1][:, None, :]))
    return output, obj_match, loss


def associate_trackformer(sgla, out, targets, num_queries):
    embed, boxes, n = out["hs_embed"], out["pred_boxes"].detach(), num_queries
    output = sgla(embed[:, -n:], embed[:, :-n], boxes[:, -n:], boxes[:, :-n])
    found = []
    for logits, box, truth, scores in zip(out["pred_logits"], boxes, targets, output.score_logits):
        obj_match = match_detections(logits[None, -n:, :1], box[None, -n:], truth["boxes"][None], truth["labels"][None])
        tck_match = torch.full((scores.shape[1],), -1, device=box.device)
        tck_match[~truth["track_queries_fal_pos_mask"][:-n]] = truth["track_query_match_ids"]
        found.append((obj_match[0], association_loss(scores, association_targets(obj_match[0], tck_match))))
    return output, [one for one, _ in found], torch.stack([loss for _, loss in found]).mean()


def associate_detections(sgla, adapter, now, before):
    before = {name: value[before["ids"] >= 0] for name, value in before.items()}
    embeds = adapter(now["embeds"])[None], adapter(before["embeds"])[None]
    output = sgla(*embeds, now["boxes"][None].detach(), before["boxes"][None].detach())
    target = now["ids"][:, None] == before["ids"]
    return output, association_loss(output.score_logits[0], target)


@torch.no_grad()
def association_cost(sgla, adapter, detections, tracks):
    embeds = adapter(detections["embeds"])[None], adapter(tracks["embeds"])[None]
    scores = sgla(*embeds, detections["boxes"][None], tracks["boxes"][None]).score_logits[0].sigmoid()
    return 1 - scores.T  # rows are tracks


class Embeddings(nn.Module):
    """Features of boxes, an adapter to the channels of the association, and the association."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = small_backbone(2, WIDTH)
        self.adapter = nn.Linear(WIDTH * 9, WIDTH)
        self.sgla = SGLA(SGLASettings(WIDTH, 4, 2, 64))

    def forward(self, images: Tensor, objects: Objects) -> list[dict[str, Tensor]]:
        """Return embeddings, boxes and identities of the shaken boxes of each frame."""
        features = self.backbone(images)
        found = []
        for level, one in zip(features, objects, strict=True):
            boxes = one["boxes"] + 0.01 * torch.randn_like(one["boxes"])
            corners = denormalize_boxes(cxcywh_to_xyxy(boxes), SIZE)
            pooled = roi_align(level[None], corners, torch.zeros(len(boxes), dtype=torch.int64), STRIDE, 3)
            found.append({"embeds": pooled.flatten(1), "boxes": boxes, "ids": one["track_ids"]})
        return found


def training_step(model: Embeddings, images: Tensor, objects: Objects) -> dict[str, Tensor]:
    """Return the association loss between the frames of a clip."""
    before, now = model(images, objects)
    _, loss = associate_detections(model.sgla, model.adapter, now, before)
    return {"loss_association": loss}


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the loss, and return that of each step."""
    steps = steps_from(arguments, "Train the learned association of LA-MOTR on detections.")
    torch.manual_seed(0)
    model = Embeddings()
    return train(model, lambda images, objects: training_step(model, images, objects), 2, steps)


if __name__ == "__main__":
    main()
