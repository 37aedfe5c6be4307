"""What a detector predicts, as plug-ins get it."""

from __future__ import annotations

from typing import Any

import torch

from mot_core.batch import ClipBatch
from mot_core.nn import DetectorOutput
from mot_core.structures import FrameOutput


def frame_output(output: DetectorOutput, batch: ClipBatch, frame: int, **more: Any) -> FrameOutput:
    """The predictions of the last layer for a frame of each clip, as plug-ins get them.

    Args:
        output: of the detector on this frame of each clip.
        batch: the clips.
        frame: index of the frame.
        more: other fields of :class:`FrameOutput`.
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
