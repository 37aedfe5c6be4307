"""Conversion of detector predictions to the frame outputs of plug-ins."""

from __future__ import annotations

from typing import Any

import torch

from mot_core.nn import DetectorOutput
from mot_core.structures import ClipBatch, FrameOutput


def frame_output(output: DetectorOutput, batch: ClipBatch, frame: int, **more: Any) -> FrameOutput:
    """Convert the predictions of the last layer for one frame of each clip.

    Args:
        output: Output of the detector for this frame of each clip.
        batch: Batch of clips.
        frame: Zero-based index of the frame in the clips.
        more: Other fields of :class:`FrameOutput`.

    >>> size = torch.tensor([[96, 160]])
    >>> batch = ClipBatch(torch.zeros(1, 2, 3, 96, 160), torch.zeros(1, 96, 160).bool(), size, size,
    ...                   torch.tensor([[7, 8]]), ("crossing",))
    >>> layers = torch.zeros(2, 1, 5, 1), torch.rand(2, 1, 5, 4), torch.zeros(2, 1, 5, 32)
    >>> frame = frame_output(DetectorOutput(*layers, []), batch, 1)
    >>> frame.time, frame.embeddings.shape
    (tensor([8]), torch.Size([1, 5, 32]))
    """
    boxes = output.boxes_cxcywh[-1]
    fields: dict[str, Any] = {
        "boxes_cxcywh": boxes,
        "logits": output.logits[-1],
        "valid": boxes.new_ones(boxes.shape[:2], dtype=torch.bool),
        "image_size": batch.image_size,
        "time": batch.times[:, frame],
        "embeddings": output.hidden[-1],
    }
    return FrameOutput(**{**fields, **more})
