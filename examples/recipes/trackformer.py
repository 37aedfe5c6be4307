"""Train a tracker like TrackFormer with the UniTrack loss: docs/recipes/trackformer.md.

Outputs and targets have the names of `models/detr_tracking.py` and `engine.py`; the network is smaller, so that it
runs without files: python examples/recipes/trackformer.py --steps 200
"""

from __future__ import annotations

from typing import Any

import torch
from clips import Objects, steps_from, train
from queries import QUERIES, QueryDetector, detection_losses, match
from torch import Tensor, nn

from unitrack_loss import TrackClip, UniTrackLoss
from unitrack_loss.converters import trackformer_frame

Targets = list[dict[str, Tensor]]
Indices = list[tuple[Tensor, Tensor]]


class DETRTracking(nn.Module):
    """The objects found in the previous frame are track queries in this one, before the object queries."""

    unitrack_previous: tuple[Any, ...]

    def __init__(self) -> None:
        super().__init__()
        self.detector = QueryDetector()

    def forward(self, samples: list[Tensor], targets: Targets, prev: tuple[list[Tensor], Targets]) -> dict[str, Tensor]:
        """Decode the previous frame, then this one; targets gain ``track_queries_mask`` and the objects of tracks."""
        prev_samples, prev_targets = prev
        prev_out = self.decode(prev_samples, [self.detector.queries] * len(prev_samples))
        prev_indices = matcher(prev_out, prev_targets)
        self.unitrack_previous = prev_out, prev_targets, prev_indices
        queries = []
        for row, (target, before, (found, objects)) in enumerate(zip(targets, prev_targets, prev_indices, strict=True)):
            same = before["track_ids"][objects][:, None] == target["track_ids"]
            found, same = found[same.any(1)], same[same.any(1)]
            target["track_query_match_ids"] = same.int().argmax(1)
            target["track_queries_mask"] = torch.arange(len(found) + QUERIES) < len(found)
            queries.append(torch.cat([prev_out["hs_embed"][row, found], self.detector.queries]))
        return self.decode(samples, queries)

    def decode(self, samples: list[Tensor], queries: list[Tensor]) -> dict[str, Tensor]:
        """Return the outputs of images that have equally many queries."""
        found = [self.detector(image, one) for image, one in zip(samples, queries, strict=True)]
        names = {"pred_logits": "pred_logits", "pred_boxes": "pred_boxes", "hs_embed": "embed"}
        return {name: torch.stack([one[ours] for one in found]) for name, ours in names.items()}


def matcher(outputs: dict[str, Tensor], targets: Targets) -> Indices:
    """Match track queries to the objects they have, and the other objects by boxes and scores."""
    indices = []
    for logits, boxes, target in zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True):
        tracked = target.get("track_query_match_ids", torch.zeros(0, dtype=torch.int64))
        first = len(tracked)
        new = torch.tensor(
            [one for one in range(len(target["boxes"])) if one not in tracked.tolist()], dtype=torch.int64
        )
        rows, columns = match(logits[first:], boxes[first:], target["boxes"][new])
        indices.append((torch.cat([torch.arange(first), rows + first]), torch.cat([tracked, new[columns]])))
    return indices


def criterion(outputs: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
    """Return the losses of the detector."""
    parts = [
        detection_losses(outputs["pred_logits"][row], outputs["pred_boxes"][row], rows, targets[row]["boxes"][columns])
        for row, (rows, columns) in enumerate(matcher(outputs, targets))
    ]
    return {"loss_detection": torch.stack(parts).mean()}


def training_step(model: DETRTracking, images: Tensor, objects: Objects) -> dict[str, Tensor]:
    """Return the weighted losses of two frames; the lines after the criterion are those of the recipe."""
    prev_targets, targets = ([{**one, "size": torch.tensor(images.shape[-2:])}] for one in objects)
    outputs = model([images[1]], targets, ([images[0]], prev_targets))
    loss_dict = {name: loss for name, loss in criterion(outputs, targets).items()}
    now = outputs, targets, matcher(outputs, targets)
    for row, size in enumerate(target["size"] for target in targets):
        steps = [trackformer_frame(o, t[row], i[row], size, row) for o, t, i in (model.unitrack_previous, now)]
        clip = TrackClip.from_frames(steps, size.tolist())
        loss_dict["loss_unitrack"] = loss_dict.get("loss_unitrack", 0) + UniTrackLoss()(clip).total / len(targets)
    weight_dict = {"loss_detection": 1.0, "loss_unitrack": 1.0}
    return {name: weight_dict[name] * loss for name, loss in loss_dict.items()}


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the losses, and return those of each step."""
    steps = steps_from(arguments, "Train a tracker like TrackFormer with the UniTrack loss.")
    torch.manual_seed(0)
    model = DETRTracking()
    return train(model, lambda images, objects: training_step(model, images, objects), 2, steps)


if __name__ == "__main__":
    main()
