"""TrackFormer overfits one video, including identities, from its frames and pairs of frames."""

from dataclasses import replace

import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou
from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.structures import FrameTargets
from mot_core.trackers import DetectorSettings, OptimizerSettings, TrackFormer

STEPS, FRAMES, OBJECTS = 120, 4, 3
SMALL = DetectorSettings(
    "small", num_queries=12, embed_dim=64, num_heads=4, ffn_dim=128, num_levels=3, num_encoder_layers=1,
    num_decoder_layers=2,
)  # fmt: skip


def clips(batch, starts, length):
    """Return a batch of clips of one video."""
    parts = [slice(start, start + length) for start in starts]
    targets = []
    for time in range(length):
        frames = [batch.targets[start + time] for start in starts]
        names = ("boxes_cxcywh", "labels", "ids", "valid")
        targets.append(FrameTargets(*(torch.cat([getattr(one, name) for one in frames]) for name in names)))
    count = len(starts)
    return replace(
        batch, images=torch.cat([batch.images[:, part] for part in parts]),
        times=torch.cat([batch.times[:, part] for part in parts]), padding=batch.padding.expand(count, -1, -1),
        image_size=batch.image_size.expand(count, -1), original_size=batch.original_size.expand(count, -1),
        sequences=batch.sequences * count, targets=tuple(targets),
    )  # fmt: skip


@pytest.mark.slow
def test_overfit_one_video():
    torch.manual_seed(0)
    tracker = TrackFormer(SMALL, OptimizerSettings(lr=1e-3, backbone_scale=1, points_scale=1))
    source = SyntheticVideo(num_videos=1, num_frames=FRAMES, num_objects=(OBJECTS, OBJECTS), seed=0)
    video = collate([ClipDataset(source, ClipSampling(FRAMES))[0]])
    assert all(targets.valid.sum() == OBJECTS for targets in video.targets)
    batches = clips(video, range(FRAMES), 1), clips(video, range(FRAMES - 1), 2), clips(video, range(FRAMES - 2), 3)
    optimizer = tracker.configure_optimizers()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (STEPS - step) / 40))
    history = []
    for step in range(STEPS):
        loss = sum(sum(tracker.losses(batch, step=step)[0].values()) for batch in batches)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tracker.parameters(), 0.1)
        optimizer.step()
        schedule.step()
        history.append(loss.item())
    assert sum(history[-5:]) < 0.2 * sum(history[:5])
    found = torch.full((FRAMES, OBJECTS), -1)
    for time, targets in enumerate(video.targets):
        tracks = tracker.eval().track(clips(video, [time], 1))
        height, width = video.original_size[0].tolist()
        boxes = cxcywh_to_xyxy(targets.boxes_cxcywh[0]) * torch.tensor([width, height, width, height])
        for track, row in zip(tracks.ids.tolist(), pairwise_iou(tracks.boxes_xyxy, boxes), strict=True):
            assert row.max() > 0.5, "a track without an object"
            found[time, row.argmax()] = track
    assert (found >= 0).all(), "every object is found in every frame"
    assert (found == found[0]).all(), "by the same track"
    assert len(found[0].unique()) == OBJECTS, "with a distinct track per object"
