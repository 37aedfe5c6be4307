"""MOTIP overfits one clip, in training and in tracking."""

from dataclasses import replace

import pytest
import torch

from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.trackers import MOTIP, DetectorSettings, OptimizerSettings


@pytest.mark.slow
def test_overfit_one_clip():
    """Occlusions and swaps are disabled, because they make an accuracy of 1 impossible."""
    torch.manual_seed(0)
    detector = DetectorSettings(
        "small", num_queries=10, embed_dim=64, ffn_dim=128, num_levels=3, num_encoder_layers=1, num_decoder_layers=2
    )
    tracker = MOTIP(
        detector, OptimizerSettings(lr=1e-3, weight_decay=0, backbone_scale=1.0), num_words=5, id_layers=2, groups=8,
        occlusion=0.0, switch=0.0,
    )  # fmt: skip
    source = SyntheticVideo(num_videos=4, num_frames=4, num_objects=(3, 3))
    batch = collate([ClipDataset(source, ClipSampling(4))[0]])
    optimizer = torch.optim.AdamW(tracker.parameter_groups())
    accuracy = []

    def log(name, value):
        if name == "id_accuracy":
            accuracy.append(float(value))

    for step in range(110):
        losses, _ = tracker.losses(batch, step=step, log=log)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        for parameters in tracker.clip_groups():
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
    assert accuracy[-10:] == [1.0] * 10
    assert losses["id"] < 0.05
    tracker.eval()
    answers = []
    for time in range(4):
        now = slice(time, time + 1)
        frame = replace(batch, images=batch.images[:, now], times=batch.times[:, now], targets=batch.targets[now])
        tracks = tracker.track(frame)
        centers = (tracks.boxes_xyxy[:, :2] + tracks.boxes_xyxy[:, 2:]) / 2
        truth = batch.targets[time].boxes_cxcywh[0, :, :2] * torch.tensor([160, 96])
        nearest = batch.targets[time].ids[0, torch.cdist(centers, truth).argmin(1)]
        answers.append(dict(zip(tracks.ids.tolist(), nearest.tolist(), strict=True)))
    assert sorted(answers[0]) == [0, 1, 2]
    assert sorted(answers[0].values()) == sorted(batch.targets[0].ids[0].tolist())
    assert all(answer == answers[0] for answer in answers), "all tracks keep the identity of the first frame"
