"""Outputs of trackers: visible tracks, predictions for plug-ins, and the reason for a score of 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mot_core.nn import DetectorOutput
from mot_core.structures import ClipBatch, FeaturePyramid, FrameOutput, TrackState

HIGHEST_SCORE = "highest_score"
"""Name under which trackers log the highest detection score of a frame in tracking."""
SCORE_THRESHOLDS = ("detection_threshold", "birth_threshold", "track_threshold", "score_threshold")
"""Parameters of the trackers that a detection must exceed to start a track."""


@dataclass(frozen=True, eq=False)
class FrameTracks:
    """The tracks visible in one frame, as :meth:`Tracker.track_frame` returns them.

    Attributes:
        ids: Identities from 0, ``(N,)`` int64.
        boxes_cxcywh: Boxes as center and size in [0, 1], ``(N, 4)``.
        scores: Confidence of each box, ``(N,)``.
        classes: Class labels from 0, ``(N,)`` int64.
    """

    ids: Tensor
    boxes_cxcywh: Tensor
    scores: Tensor
    classes: Tensor


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


def query_slots(
    output: DetectorOutput,
    pyramid: FeaturePyramid,
    batch: ClipBatch,
    index: int,
    tracks: TrackState | None,
    merge_layer: int,
) -> FrameOutput:
    """Convert predictions of learned queries, then tracks, with earlier layers as ``aux`` and track flags.

    Slots of tracks are not valid in layers that do not decode them.

    Args:
        output: Output of the detector for this frame of each clip.
        pyramid: Feature maps.
        batch: Batch of clips.
        index: Zero-based index of the frame in the clips.
        tracks: Decoded tracks, or None.
        merge_layer: First decoder layer with tracks.

    >>> size = torch.tensor([[96, 160]])
    >>> batch = ClipBatch(torch.zeros(1, 2, 3, 96, 160), torch.zeros(1, 96, 160).bool(), size, size,
    ...                   torch.tensor([[7, 8]]), ("crossing",))
    >>> layers = torch.zeros(2, 1, 5, 1), torch.rand(2, 1, 5, 4), torch.zeros(2, 1, 5, 32), [torch.rand(1, 5, 4)]
    >>> ids = torch.tensor([[4, 9]])
    >>> frame = query_slots(DetectorOutput(*layers), FeaturePyramid((), ()), batch, 1, TrackState(ids, ids > 0), 1)
    >>> frame.track_ids, frame.aux[0].valid.sum().item()
    (tensor([[-1, -1, -1,  4,  9]]), 3)
    """
    layers, clips, slots = output.logits.shape[:3]
    valid = torch.ones(clips, slots, dtype=torch.bool, device=output.logits.device)
    is_track, track_ids = torch.zeros_like(valid), valid.long().fill_(-1)
    if tracks is not None:
        start = slots - tracks.ids.shape[1]
        valid[:, start:] = is_track[:, start:] = tracks.valid
        track_ids[:, start:] = tracks.ids.where(tracks.valid, -1)
    marks: dict[str, Any] = {"is_track": is_track, "track_ids": track_ids}
    aux = tuple(
        frame_output(
            output, batch, index, **marks, valid=valid & ~is_track if layer < merge_layer else valid,
            boxes_cxcywh=output.boxes_cxcywh[layer], logits=output.logits[layer], embeddings=output.hidden[layer],
        )
        for layer in range(layers - 1)
    )  # fmt: skip
    reference = output.references[-1]
    return frame_output(
        output, batch, index, **marks, valid=valid, aux=aux, features=pyramid,
        ref_boxes_cxcywh=reference if reference.shape[-1] == 4 else None,
    )  # fmt: skip


def zero_explanation(highest: float | None, parameters: Mapping[str, Any]) -> str:
    """Return the reason why a tracker finds nothing, from its highest detection score and its thresholds.

    Args:
        highest: Highest score of a detection in all frames, or None if unknown.
        parameters: Tracking parameters by name; the thresholds among them are compared with ``highest``.

    >>> zero_explanation(0.21, {"detection_threshold": 0.4, "id_threshold": 0.1, "min_area": 100})
    'no detection above detection_threshold 0.4; highest score 0.21: train longer, or lower it'
    >>> zero_explanation(0.8, {"detection_threshold": 0.4})
    'no reported box overlaps an object; highest score of a detection 0.8: train longer'
    """
    if highest is None:
        return "no reported box overlaps an object: train longer"
    first = next((name for name in parameters if name in SCORE_THRESHOLDS and parameters[name] is not None), None)
    if first is not None and highest < parameters[first]:
        limit = f"{first} {parameters[first]:g}"
        return f"no detection above {limit}; highest score {highest:.2g}: train longer, or lower it"
    return f"no reported box overlaps an object; highest score of a detection {highest:.2g}: train longer"
