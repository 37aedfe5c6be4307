"""MOTR, MeMOTR and MOTE overfit one clip, including identities."""

from dataclasses import replace

import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou
from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.trackers import MOTE, MOTR, DetectorSettings, MeMOTR, OptimizerSettings

STEPS, FRAMES, OBJECTS = 90, 4, 3
SMALL = DetectorSettings(
    "small", num_queries=20, embed_dim=64, ffn_dim=128, num_levels=3, num_encoder_layers=1, num_decoder_layers=2
)


def identities(tracker, batch):
    """Return the track on every object in every frame, ``(T, G)``; -1 for none."""
    found = torch.full((FRAMES, OBJECTS), -1)
    for time, targets in enumerate(batch.targets):
        frame = replace(batch, images=batch.images[:, time : time + 1], times=batch.times[:, time : time + 1])
        tracks = tracker.eval().track(frame)
        height, width = batch.original_size[0].tolist()
        boxes = cxcywh_to_xyxy(targets.boxes_cxcywh[0]) * torch.tensor([width, height, width, height])
        for track, row in zip(tracks.ids.tolist(), pairwise_iou(tracks.boxes_xyxy, boxes), strict=True):
            assert row.max() > 0.5, "a track without an object"
            found[time, row.argmax()] = track
    return found


@pytest.mark.slow
@pytest.mark.parametrize("model", [MOTR, MeMOTR, MOTE])
def test_overfit_one_clip(model):
    learn(model, seed=0)


def learn(model, seed):
    torch.manual_seed(seed)
    # After so few steps, scores are lower than in the paper.
    thresholds = {"birth_threshold": 0.5, "keep_threshold": 0.4, "report_threshold": 0.5}
    # MeMOTR decodes tracks from the second layer on, and needs another one to separate new objects from tracked ones.
    detector = replace(SMALL, num_decoder_layers=3) if model is MeMOTR else SMALL
    tracker = model(detector, OptimizerSettings(lr=1e-3, backbone_scale=1, points_scale=1), **thresholds)
    source = SyntheticVideo(num_videos=1, num_frames=FRAMES, num_objects=(OBJECTS, OBJECTS), seed=seed)
    batch = collate([ClipDataset(source, ClipSampling(FRAMES))[0]])
    assert all(targets.valid.sum() == OBJECTS for targets in batch.targets)
    optimizer = tracker.configure_optimizers()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (STEPS - step) / 40))
    history = []
    for step in range(STEPS):
        loss = sum(tracker.losses(batch, step=step)[0].values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tracker.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        history.append(loss.item())
    assert sum(history[-5:]) < 0.1 * sum(history[:5])
    found = identities(tracker, batch)
    assert (found >= 0).all(), "every object is found in every frame"
    assert (found == found[0]).all(), "by the same track"
    assert len(found[0].unique()) == OBJECTS, "with a distinct track per object"
