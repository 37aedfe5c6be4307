"""Train the detection head of YOLOX, as in ByteTrack, with the UniTrack loss: docs/recipes/bytetrack.md.

The head has the names of `yolox/models/yolo_head.py`; backbone and assignment are simpler, so that it runs without
files: python examples/recipes/yolox.py --steps 200
"""

from __future__ import annotations

import torch
from clips import SIZE, Objects, small_backbone, steps_from, train
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from mot_core.boxes import cxcywh_to_xyxy, giou, pairwise_iou
from unitrack_loss import TrackClip, UniTrackLoss
from unitrack_loss.converters import yolox_frame

STRIDE = 8


class YOLOXHead(nn.Module):
    """Boxes, objectness and class of each cell, and their losses."""

    track_ids: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = small_backbone(3)
        self.predict = nn.Conv2d(32, 6, 1)

    def forward(self, imgs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the losses of the frames of a clip; labels are ``(T, G, 5)``: class, center and size in pixels."""
        raw = self.predict(self.stem(imgs))
        rows, columns = raw.shape[-2:]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        self.cells = (torch.stack([x, y], -1).view(-1, 2) + 0.5) * STRIDE
        raw = raw.flatten(2).mT
        boxes = [raw[..., :2] * STRIDE + self.cells, raw[..., 2:4].clamp(max=5).exp() * STRIDE]
        return self.get_losses(imgs, labels, torch.cat([*boxes, raw[..., 4:]], -1))

    def get_losses(self, imgs: Tensor, labels: Tensor, outputs: Tensor) -> dict[str, Tensor]:
        """Return the losses; the lines with `frames` are those of the recipe."""
        losses = outputs.new_zeros(3)
        frames = []
        for batch_idx in range(outputs.shape[0]):
            num_gt = int((labels[batch_idx].sum(1) > 0).sum())
            gt_bboxes_per_image = labels[batch_idx, :num_gt, 1:5]
            fg_mask, matched_gt_inds = self.get_assignments(gt_bboxes_per_image, outputs[batch_idx])
            ids = self.track_ids[batch_idx][:num_gt]
            frames.append(yolox_frame(outputs[batch_idx], fg_mask, matched_gt_inds, gt_bboxes_per_image, ids))
            found, wanted = outputs[batch_idx][fg_mask], gt_bboxes_per_image[matched_gt_inds]
            losses = losses + torch.stack(
                [
                    5 * (1 - giou(cxcywh_to_xyxy(found[:, :4]), cxcywh_to_xyxy(wanted))).sum(),
                    cross_entropy(outputs[batch_idx][:, 4], fg_mask.float(), reduction="sum"),
                    cross_entropy(found[:, 5], torch.ones(len(found)), reduction="sum"),
                ]
            ) / max(len(found), 1)
        unitrack = 0.05 * UniTrackLoss("paper")(TrackClip.from_frames(frames, imgs.shape[-2:])).total
        return {"loss_iou": losses[0], "loss_obj": losses[1], "loss_cls": losses[2], "loss_unitrack": unitrack}

    @torch.no_grad()
    def get_assignments(self, gt_bboxes_per_image: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask of cells near the center of an object, and the object of each."""
        near = (self.cells[:, None] - gt_bboxes_per_image[:, :2]).abs().amax(-1) < STRIDE
        overlap = pairwise_iou(cxcywh_to_xyxy(outputs[:, :4]), cxcywh_to_xyxy(gt_bboxes_per_image))
        fg_mask = near.any(1)
        return fg_mask, overlap.masked_fill(~near, -1)[fg_mask].argmax(1)


def training_step(head: YOLOXHead, images: Tensor, objects: Objects) -> dict[str, Tensor]:
    """Write the labels as the loader of YOLOX does, with identities in column 5, and return the losses."""
    most = max(len(one["boxes"]) for one in objects)
    targets = torch.zeros(len(objects), most, 6, dtype=torch.float64)  # half precision would merge identities
    for row, one in zip(targets, objects, strict=True):
        count = len(one["boxes"])
        row[:count, 1:5] = one["boxes"] * torch.tensor([SIZE[1], SIZE[0]] * 2)
        row[:count, 5] = one["track_ids"]
    head.track_ids = targets[:, :, 5].long()
    return head(images, targets[:, :, :5].float())


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the losses, and return those of each step."""
    steps = steps_from(arguments, "Train the head of YOLOX with the UniTrack loss.")
    torch.manual_seed(0)
    head = YOLOXHead()
    return train(head, lambda images, objects: training_step(head, images, objects), 3, steps)


if __name__ == "__main__":
    main()
