"""Hooks of the Deformable DETR, and validity of the clips of a tracker."""

from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from _helpers.conformance import check_assignment, check_clip, check_gradient
from _helpers.trackers.small_tracker import Depth, Pull, Refiner, SmallTracker, make_batch
from mot_core.nn import DeformableDETR, SmallBackbone
from mot_core.plugins import Plugins
from mot_core.structures import TrackerSpec

LAYERS = 2


def detect(*plugins, checkpointing=False):
    """Return boxes and queries of all layers, and the gradients of the detector."""
    torch.manual_seed(0)
    detector = DeformableDETR(
        SmallBackbone(), num_queries=6, embed_dim=32, num_heads=4, ffn_dim=32, num_levels=3, num_encoder_layers=1,
        num_decoder_layers=LAYERS, dropout=0.1,
    )  # fmt: skip
    attached = Plugins(*plugins)
    attached.setup(
        TrackerSpec(
            "detector", frozenset({"features", "decoder_layer"}), embed_dim=32, feature_channels=(32,) * 3,
            strides=detector.strides, decoder_layers=LAYERS,
        )
    )  # fmt: skip
    ctx = attached.start_clip(training=True).at(0)

    def forward(images):
        output = detector(
            images,
            on_features=lambda features: attached.on_features(features, ctx),
            on_decoder_layer=lambda layer, queries: attached.on_decoder_layer(layer, queries, ctx),
        )
        return torch.cat([output.boxes_cxcywh, output.hidden], -1)

    images = torch.rand(2, 3, 64, 96)
    found = checkpoint(forward, images, use_reentrant=False) if checkpointing else forward(images)
    (found * torch.rand(found.shape)).sum().backward()
    return [found, *(parameter.grad for parameter in detector.parameters() if parameter.grad is not None)], attached


@pytest.mark.parametrize("checkpointing", [False, True])
def test_zero_gates_in_the_detector_are_bit_identical(checkpointing):
    plain, _ = detect()
    gated, attached = detect(Depth(), checkpointing=checkpointing)
    assert len(plain) == len(gated)
    assert all(torch.equal(a, b) for a, b in zip(plain, gated, strict=True))
    assert attached["depth"].gates.grad.abs().min() > 0, "the gate of every layer has a gradient"


@pytest.mark.parametrize("plugins", [lambda: [], lambda: [Depth(), Refiner(), Pull()]])
def test_clips_of_the_small_tracker(plugins):
    torch.manual_seed(0)
    tracker = SmallTracker(*plugins())
    _, _, clip = tracker(*make_batch())
    check_clip(clip, tracker.capabilities)
    check_gradient(clip, tracker.capabilities, tracker.backbone.weight)


def test_invalid_clips_fail_the_checks():
    tracker = SmallTracker()
    _, _, clip = tracker(*make_batch())
    frame, targets = clip.frames[1], clip.targets[1]
    swapped = frame.gt_index.clone()
    rows = torch.nonzero(frame.is_track[0] & (frame.gt_index[0] >= 0)).flatten()[:2]
    swapped[0, rows] = swapped[0, rows.flip(0)]
    with pytest.raises(AssertionError):
        check_assignment(replace(frame, gt_index=swapped), targets)
    with pytest.raises(AssertionError):
        check_clip(replace(clip, frames=[frame, frame], targets=[targets, targets]), tracker.capabilities)
    detached = replace(clip, frames=[replace(frame, embeddings=frame.embeddings.detach())], targets=None)
    with pytest.raises(RuntimeError, match="does not require grad"):
        check_gradient(detached, frozenset({"embeddings"}), tracker.backbone.weight)
