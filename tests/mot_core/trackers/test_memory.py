"""Memory estimate compared with the tensors that a training step saves for the backward pass."""

import copy

import pytest
import torch

from _helpers.trackers.toy_tracker import make_toy, synthetic
from mot_core.trackers import DetectorSettings
from mot_core.trackers.memory import estimate_memory

PAPER = DetectorSettings()


def saved_in_a_step(tracker, batch):
    """Return the bytes saved by a step for the backward pass, without parameters."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses, _ = tracker.train().losses(batch)
    assert sum(losses.values()).requires_grad
    own = {tensor.untyped_storage().data_ptr() for tensor in (*tracker.parameters(), *tracker.buffers())}
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)


@pytest.mark.parametrize(("clips", "frames"), [(1, 1), (1, 4), (3, 2)])
def test_activations_match_a_real_step(clips, frames):
    tracker = make_toy()
    data = synthetic(clip_length=frames, batch_size=clips, num_videos=3)
    batch = next(iter(data.train_dataloader()))
    estimate = estimate_memory(tracker, (32, 48), frames, clips)
    assert estimate.activations == pytest.approx(saved_in_a_step(tracker, batch), rel=0.02)
    assert estimate.images == batch.images.nbytes


def test_parameters_gradients_and_optimizer_states():
    tracker = make_toy()
    frozen = next(tracker.detector.backbone.parameters())
    frozen.requires_grad_(False)
    estimate = estimate_memory(tracker, (32, 48), 2)
    numbers = sum(parameter.numel() for parameter in tracker.parameters())
    assert estimate.parameters == 4 * numbers
    assert estimate.gradients == 4 * (numbers - frozen.numel())
    assert estimate.optimizer == 2 * estimate.gradients
    parts = (estimate.parameters, estimate.gradients, estimate.optimizer, estimate.images, estimate.activations)
    assert estimate.total == sum(parts)


def test_checkpointing_keeps_one_frame_and_outputs():
    plain, checkpointed = (
        estimate_memory(make_toy(checkpointing=checkpointing), (32, 48), 4) for checkpointing in (False, True)
    )
    assert plain.frame == checkpointed.frame
    assert plain.activations == 4 * plain.frame
    assert checkpointed.activations == plain.frame + 3 * plain.output
    layers, slots, width = 2, 8, 32
    assert plain.output == 4 * layers * slots * (width + 4 + 1)


def test_frames_without_gradient_keep_outputs_only():
    tracker = make_toy()
    tracker.frames_in_memory = lambda clip_length: min(2, clip_length)
    estimate = estimate_memory(tracker, (32, 48), 5)
    assert estimate.activations == 2 * estimate.frame + 3 * estimate.output
    assert estimate_memory(tracker, (32, 48), 1).activations == estimate.frame


def test_estimate_does_not_change_the_tracker():
    tracker = make_toy().train()
    before, random = copy.deepcopy(tracker.state_dict()), torch.get_rng_state()
    estimate_memory(tracker, (32, 48), 2)
    assert all(torch.equal(value, before[name]) for name, value in tracker.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in tracker.parameters())


def test_estimates_for_the_shapes_of_the_papers():
    tracker = make_toy(detector=PAPER)
    whole = estimate_memory(tracker, (800, 1440), 4)
    assert 4e9 < whole.frame < 7e9  # 5.5 GB with the reference attention
    half = estimate_memory(tracker, (800, 1440), 4, mixed=True)
    assert 0.4 * whole.frame < half.frame < 0.9 * whole.frame
    assert estimate_memory(tracker, (400, 720), 4).frame == pytest.approx(whole.frame / 4, rel=0.1)
