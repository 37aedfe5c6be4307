"""How much memory a training step will need, found without computing one."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mot_core.trackers.base import Tracker


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step holds at once, at least: temporary memory and small parts are not in it.

    Attributes:
        parameters: of the tracker and its plug-ins.
        gradients: of those that are trained.
        optimizer: two states of AdamW for each of them.
        images: of the batch.
        frame: what the detector keeps of one frame of each clip for backward.
        output: what it gives for one frame of each clip.
        frames_kept: frames of which it keeps all for backward at once.
        frames: of a clip.
    """

    parameters: int
    gradients: int
    optimizer: int
    images: int
    frame: int
    output: int
    frames_kept: int
    frames: int

    @property
    def activations(self) -> int:
        """What the detector keeps of all frames: of some all, of the others what it gave."""
        return self.frame * self.frames_kept + self.output * (self.frames - self.frames_kept)

    @property
    def total(self) -> int:
        """All together."""
        return self.parameters + self.gradients + self.optimizer + self.images + self.activations


def estimate_memory(
    tracker: Tracker, image_size: tuple[int, int], clip_length: int, batch_size: int = 1, *, mixed: bool = False
) -> StepMemory:
    """Memory of a training step, from a run of the detector on tensors without content: it takes a second or two.

    Within two percent of what the detector really keeps. What the tracker computes beside it, plug-ins and temporary
    results come on top: with MOTIP's 30 frames of 800 x 1440 the detector keeps 22 GB, and the ID decoder 0.7 GB for
    10 objects and 1.8 GB for 20. On small images the ID decoder may keep as much as the detector.

    Args:
        tracker: on any device; nothing of it changes.
        image_size: (height, width) of the batch, with padding.
        clip_length: frames of a clip.
        batch_size: clips.
        mixed: training in mixed precision, activations in bfloat16 where that is allowed.
    """
    parameters = list(tracker.parameters())
    trained = sum(_bytes(parameter) for parameter in parameters if parameter.requires_grad)
    frame, output = _measure(tracker.detector, (batch_size, 3, *image_size), mixed)
    trained_frames = getattr(tracker, "gradient_frames", clip_length)  # MOTIP: the others only pass through
    kept = 1 if tracker.checkpointing else min(trained_frames, clip_length)
    height, width = image_size
    return StepMemory(
        parameters=sum(map(_bytes, parameters)),
        gradients=trained,
        optimizer=2 * trained,
        images=batch_size * clip_length * 3 * height * width * parameters[0].element_size(),
        frame=frame,
        output=output,
        frames_kept=kept,
        frames=clip_length,
    )


def _measure(detector: nn.Module, shape: tuple[int, ...], mixed: bool) -> tuple[int, int]:
    """Bytes that backward needs of one call, without the parameters, and bytes of the result."""
    mode = FakeTensorMode()
    fake = _without_content(detector, mode)
    first = next(fake.parameters())
    own = {id(tensor.untyped_storage()) for tensor in (*fake.parameters(), *fake.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # views share a storage, and are saved once

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[id(storage)] = storage
        return tensor

    with (
        mode,
        torch.enable_grad(),
        torch.autocast(first.device.type, dtype=torch.bfloat16) if mixed else nullcontext(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        output = fake(torch.empty(shape, dtype=first.dtype, device=first.device))
    results = (output.logits, output.boxes_cxcywh, output.hidden)
    return sum(one.nbytes() for key, one in kept.items() if key not in own), sum(map(_bytes, results))


def _without_content(module: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """A copy of which no tensor takes memory."""
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(mode.from_tensor(parameter.data), parameter.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = mode.from_tensor(buffer)
    return copy.deepcopy(module, memo)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
