"""Training on one clip until its objects are found and keep their identities."""

from dataclasses import replace

import torch

from _helpers.trackers.tracker_cases import batches
from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou


def check_overfits_a_clip(tracker, rate, steps):
    """Train on a clip of four frames, track it, and check that all objects are found and keep their identities."""
    (batch, *_) = batches(image_size=(64, 96), num_objects=(3, 3), clip_length=4, max_interval=1, batch_size=1)
    optimizer = torch.optim.AdamW(tracker.parameters(), rate)
    for step in range(steps):
        optimizer.zero_grad()
        losses, _ = tracker.losses(batch, step=step)
        sum(losses.values()).backward()
        optimizer.step()
    tracker.eval()
    seen = []
    for time, truth in enumerate(batch.targets):
        one = replace(
            batch, images=batch.images[:, time : time + 1], times=batch.times[:, time : time + 1], targets=None
        )
        tracks = tracker.track(one)
        size = batch.original_size[0].flip(0).repeat(2)
        wanted = cxcywh_to_xyxy(truth.boxes_cxcywh[0][truth.valid[0]]) * size
        overlap = pairwise_iou(wanted, tracks.boxes_xyxy)
        assert (overlap.max(1).values > 0.6).all(), time
        seen.append(tracks.ids[overlap.argmax(1)].tolist())
    assert all(row == seen[0] for row in seen)
