"""Whole trackers with kernels: losses and gradients of a training step, and tracks, equal those of the reference."""

from dataclasses import replace

import pytest
import torch

from mot_core.bench.kernels import chosen

pytest.importorskip("lightning")
pytest.importorskip("torchmetrics")

from mot_core.association.registry import trainable_trackers
from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.trackers import MOTIP, DetectorSettings, DETRTracker

SMALL = DetectorSettings(
    "small", num_queries=7, embed_dim=32, num_heads=2, ffn_dim=32, num_levels=3, num_encoder_layers=1,
    num_decoder_layers=1,
)  # fmt: skip


def make(tracker, frames, device, **settings):
    torch.manual_seed(0)
    model = tracker(SMALL, **settings).to(device)
    with torch.no_grad():  # some weights are initially zero and would hide the modules behind them
        for weight in model.parameters():
            weight += 0.02 * torch.randn(weight.shape).to(device)
    video = SyntheticVideo(1, frames, (32, 48), num_objects=(3, 3))
    batch = collate([ClipDataset(video, ClipSampling(frames))[0]]).to(device)
    # In float32, backbone gradients on maps of a few pixels have three significant digits.
    targets = tuple(replace(truth, boxes_cxcywh=truth.boxes_cxcywh.double()) for truth in batch.targets)
    return model.double(), replace(batch, images=batch.images.double(), targets=targets)


def norm_of_difference(found, wanted):
    least = 1e-3 * max(one.norm() for one in wanted.values())  # some gradients are 0 except for rounding
    return max((found[name] - one).norm() / max(one.norm(), least) for name, one in wanted.items()).item()


@pytest.mark.parametrize("tracker", [one for one in trainable_trackers().values() if issubclass(one, DETRTracker)])
def test_training_step(tracker, device):
    results = {}
    for implementation in ("reference", "triton"):
        model, batch = make(tracker, 2, device)
        with chosen(implementation):
            losses, _ = model.losses(batch)
            sum(losses.values()).backward()
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        results[implementation] = losses | gradients
    assert norm_of_difference(results["triton"], results["reference"]) < 1e-9


def test_tracking(device):
    results = {}
    for implementation in ("reference", "triton"):
        options = {"detection_threshold": 0.0, "newborn_threshold": 0.0, "id_threshold": 0.0}
        model, batch = make(MOTIP, 1, device, **options)
        model.eval()
        with chosen(implementation):
            frames = [model.track(replace(batch, times=batch.times + time, targets=None)) for time in range(3)]
        results[implementation] = frames
    for found, wanted in zip(results["triton"], results["reference"], strict=True):
        assert found.ids.tolist() == wanted.ids.tolist()
        assert len(found.ids) == 7
        torch.testing.assert_close(found.boxes_xyxy, wanted.boxes_xyxy, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-9, atol=1e-9)
