"""Train a tracker with track queries like MOTR with the UniTrack loss: docs/recipes/motr.md.

`ClipMatcher` and track instances have the names of `models/motr.py`; the network is smaller, so that it runs without
files: python examples/recipes/motr.py --steps 200
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from clips import SIZE, Objects, steps_from, train
from queries import QueryDetector, detection_losses, match
from torch import Tensor, nn

from unitrack_loss import TrackClip, UniTrackLoss
from unitrack_loss.converters import motr_frame


@dataclass
class Instances:
    """Fields of queries or objects of one frame, in rows."""

    def select(self, rows: Tensor) -> Instances:
        """Return some rows."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass
class Tracks(Instances):
    """Predictions of the queries, and the object of each."""

    pred_logits: Tensor
    pred_boxes: Tensor
    output_embedding: Tensor
    obj_idxes: Tensor
    matched_gt_idxes: Tensor


@dataclass
class Truth(Instances):
    """Boxes and identities of the objects."""

    boxes: Tensor
    obj_ids: Tensor


class ClipMatcher(nn.Module):
    """Losses of all frames of a clip; the lines with `unitrack` are those of the recipe."""

    weight_dict: ClassVar = {"loss_detection": 1.0, "loss_unitrack": 1.0}

    def initialize_for_single_clip(self, gt_instances: list[Truth]) -> None:
        """Start a clip."""
        self.gt_instances, self.frame = gt_instances, 0
        self.detection: list[Tensor] = []

    def match_for_single_frame(self, track_instances: Tracks) -> Tracks:
        """Give tracks the objects they have, and the other objects to detections."""
        gt_instances_i = self.gt_instances[self.frame]
        same = track_instances.obj_idxes[:, None] == gt_instances_i.obj_ids
        track_instances.matched_gt_idxes = torch.where(same.any(1), same.int().argmax(1), -1)
        free = (track_instances.obj_idxes < 0).nonzero()[:, 0]
        new = (~same.any(0)).nonzero()[:, 0]
        rows, columns = match(
            track_instances.pred_logits[free], track_instances.pred_boxes[free], gt_instances_i.boxes[new]
        )
        track_instances.matched_gt_idxes[free[rows]] = new[columns]
        track_instances.obj_idxes[free[rows]] = gt_instances_i.obj_ids[new[columns]]
        found = (track_instances.matched_gt_idxes >= 0).nonzero()[:, 0]
        truth = gt_instances_i.boxes[track_instances.matched_gt_idxes[found]]
        self.detection.append(detection_losses(track_instances.pred_logits, track_instances.pred_boxes, found, truth))
        self.unitrack_frames.append(motr_frame(track_instances, gt_instances_i, self.unitrack_size))
        self.frame += 1
        return track_instances

    def forward(self) -> dict[str, Tensor]:
        """Return the losses of the clip."""
        losses = {"loss_detection": torch.stack(self.detection).mean()}
        clip = TrackClip.from_frames(self.unitrack_frames, self.unitrack_size)
        losses["loss_unitrack"] = UniTrackLoss()(clip).total
        return losses


class MOTR(nn.Module):
    """Tracks of a frame are queries of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.detector, self.criterion = QueryDetector(), ClipMatcher()
        self.track_embed = nn.Linear(self.detector.queries.shape[1], self.detector.queries.shape[1])

    def forward(self, data: dict[str, list]) -> dict[str, Tensor]:
        """Return the losses of a clip with ``imgs`` and ``gt_instances``."""
        self.criterion.initialize_for_single_clip(data["gt_instances"])
        self.criterion.unitrack_frames, self.criterion.unitrack_size = [], data["imgs"][0].shape[-2:]
        queries, ids = self.detector.queries, torch.full((len(self.detector.queries),), -1)
        for image in data["imgs"]:
            found = self.detector(image, queries)
            tracks = Tracks(found["pred_logits"], found["pred_boxes"], found["embed"], ids.clone(), ids.clone())
            tracks = self.criterion.match_for_single_frame(tracks)
            kept = tracks.select(tracks.obj_idxes >= 0)
            queries = torch.cat([self.detector.queries, self.track_embed(kept.output_embedding)])
            ids = torch.cat([torch.full((len(self.detector.queries),), -1), kept.obj_idxes])
        losses = self.criterion()
        return {name: self.criterion.weight_dict[name] * loss for name, loss in losses.items()}


def training_step(model: MOTR, images: Tensor, objects: Objects) -> dict[str, Tensor]:
    """Return the losses of a clip."""
    assert images.shape[-2:] == SIZE, "as rendered"
    return model({"imgs": [*images], "gt_instances": [Truth(one["boxes"], one["track_ids"]) for one in objects]})


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the losses, and return those of each step."""
    steps = steps_from(arguments, "Train a tracker with track queries with the UniTrack loss.")
    torch.manual_seed(0)
    model = MOTR()
    return train(model, lambda images, objects: training_step(model, images, objects), 3, steps)


if __name__ == "__main__":
    main()
