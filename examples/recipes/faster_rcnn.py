"""Train Faster R-CNN of torchvision with the UniTrack loss, on synthetic clips: docs/recipes/torchvision.md.

Small and with random weights, so that it runs without files: python examples/recipes/faster_rcnn.py --steps 200
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import MultiScaleRoIAlign

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes
from mot_core.data import IMAGE_MEAN, IMAGE_STD, ClipDataset, ClipSampling, SyntheticVideo, collate
from unitrack_loss import TrackClip, UniTrackLoss
from unitrack_loss.converters import torchvision_frame

SIZE = (96, 160)


class Heads(RoIHeads):
    """The heads of Faster R-CNN, with the UniTrack loss of a batch that is a clip."""

    def forward(self, features: Any, proposals: Any, image_shapes: Any, targets: Any = None) -> Any:
        """Return detections and losses like torchvision, and the weighted loss ``loss_unitrack`` in training."""
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        proposals, matched_idxs, labels, regression_targets = self.select_training_samples(proposals, targets)
        hidden = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
        class_logits, box_regression = self.box_predictor(hidden)
        classifier, box = fastrcnn_loss(class_logits, box_regression, labels, regression_targets)
        losses = {"loss_classifier": classifier, "loss_box_reg": box}
        decoded = self.box_coder.decode(box_regression, proposals)[:, 1]  # boxes of class 1
        parts = [one.split([len(found) for found in proposals]) for one in (decoded, class_logits, hidden)]
        rows = zip(*parts, labels, matched_idxs, targets, strict=True)
        frames = [torchvision_frame(b, c, l, m, t, h) for b, c, h, l, m, t in rows]  # noqa: E741
        losses["loss_unitrack"] = UniTrackLoss()(TrackClip.from_frames(frames, image_shapes[0])).total
        return [], losses


def build() -> FasterRCNN:
    """Return a small detector; use `fasterrcnn_resnet50_fpn` for a real one."""
    channels = (3, 16, 32, 32)
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
    backbone = nn.Sequential(*layers)
    backbone.out_channels = 32
    model = FasterRCNN(
        backbone, num_classes=2, min_size=SIZE[0], max_size=SIZE[1], box_batch_size_per_image=64,
        rpn_anchor_generator=AnchorGenerator(((12, 24, 48),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2), rpn_pre_nms_top_n_train=200, rpn_post_nms_top_n_train=100,
    )  # fmt: skip
    model.roi_heads.__class__ = Heads
    return model


def clips(frames: int = 3) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Yield the images of consecutive frames of one video, with values in [0, 1], and the target of each."""
    dataset = ClipDataset(SyntheticVideo(num_videos=100, num_frames=frames, image_size=SIZE), ClipSampling(frames))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    for index in range(len(dataset)):
        batch = collate([dataset[index]])
        targets = [
            {
                "boxes": denormalize_boxes(cxcywh_to_xyxy(truth.boxes_cxcywh[0][truth.valid[0]]), SIZE),
                "labels": truth.labels[0][truth.valid[0]] + 1,  # 0 is the background
                "track_ids": truth.ids[0][truth.valid[0]],
            }
            for truth in batch.targets or ()
        ]
        yield list(batch.images[0] * std + mean), targets


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the losses, and return those of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="training steps (default: 200)")
    steps = parser.parse_args(arguments).steps
    torch.manual_seed(0)
    model = build().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history: list[dict[str, float]] = []
    while len(history) < steps:
        for images, targets in clips():
            losses = model(images, targets)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            history.append({name: loss.item() for name, loss in losses.items()})
            if len(history) % 20 == 1:
                print(f"step {len(history)}:", ", ".join(f"{name} {value:.3f}" for name, value in history[-1].items()))
            if len(history) == steps:
                break
    return history


if __name__ == "__main__":
    main()
