"""Detection of several frames of a batch of clips per call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from mot_core.nn import DetectorOutput
from mot_core.plugins import Context
from mot_core.structures import ClipBatch, FrameTargets


def detect_frames(
    detect: Callable[[Tensor, Tensor, Context], DetectorOutput],
    batch: ClipBatch,
    targets: Sequence[FrameTargets],
    calls: Sequence[Sequence[int]],
    live: Collection[int],
    ctx: Context,
) -> list[DetectorOutput]:
    """Run the detector on the ``T`` frames of every clip.

    Args:
        detect: Detector, called with images, padding and a context at the index of the call.
        batch: Batch of ``B`` clips.
        targets: Ground truth of the ``T`` frames, for plug-ins.
        calls: Frames of each call; every frame occurs once.
        live: Frames with gradient; all or none of the frames of a call.
        ctx: Context of the clips.

    Returns:
        Predictions of the ``T`` frames in temporal order.
    """
    clips, found = len(batch), {}
    for number, call in enumerate(calls):
        has_grad = call[0] in live
        here = ctx.at(number, join_targets([targets[time] for time in call]), has_grad=has_grad)
        images = batch.images[:, list(call)].transpose(0, 1).flatten(0, 1)
        with nullcontext() if has_grad else torch.no_grad():
            output = detect(images, batch.padding.repeat(len(call), 1, 1), here)
        for index, time in enumerate(call):
            rows = slice(index * clips, (index + 1) * clips)
            references = [reference[rows] for reference in output.references]
            layers = output.logits[:, rows], output.boxes_cxcywh[:, rows], output.hidden[:, rows]
            found[time] = DetectorOutput(*layers, references)
    return [found[time] for time in range(batch.num_frames)]


def join_targets(targets: Sequence[FrameTargets]) -> FrameTargets:
    """Concatenate the targets of several frames along the batch, padded to the largest number of objects.

    >>> one, two = (FrameTargets(torch.rand(2, n, 4), *torch.zeros(2, 2, n).long(), torch.ones(2, n).bool())
    ...     for n in (1, 3))
    >>> join_targets([one, two]).valid.sum(1)
    tensor([1, 1, 3, 3])
    """
    size = max(frame.valid.shape[1] for frame in targets)

    def join(values: Sequence[Any], fill: float = 0) -> Any:
        pairs = zip(values, targets, strict=True)
        if all(value.shape[1:2] == frame.valid.shape[1:2] for value, frame in pairs):  # one value per object
            values = [
                torch.cat([value, value.new_full((len(value), size - value.shape[1], *value.shape[2:]), fill)], 1)
                for value in values
            ]
        return torch.cat(list(values))

    shared = [
        name
        for name, value in targets[0].extras.items()
        if isinstance(value, Tensor) and all(name in frame.extras for frame in targets)
    ]
    return FrameTargets(
        join([frame.boxes_cxcywh for frame in targets]),
        join([frame.labels for frame in targets]),
        join([frame.ids for frame in targets], -1),
        join([frame.valid for frame in targets]),
        {name: join([frame.extras[name] for frame in targets]) for name in shared},
    )
