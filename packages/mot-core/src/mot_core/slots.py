"""Identities, trajectories and detections derived from the slots of a tracker, differentiably, for plug-ins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, iou
from mot_core.structures import ClipOutput, FrameOutput, FrameTargets


def boxes_xyxy(frame: FrameOutput) -> Tensor:
    """Return the boxes of the slots as corners in pixels of the network input, ``(B, N, 4)``.

    >>> boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4]]])
    >>> size, time = torch.tensor([[100.0, 200.0]]), torch.tensor([1])
    >>> boxes_xyxy(FrameOutput(boxes, torch.zeros(1, 1, 1), torch.ones(1, 1).bool(), size, time)).round()
    tensor([[[ 80.,  30., 120.,  70.]]])
    """
    return denormalize_boxes(cxcywh_to_xyxy(frame.boxes_cxcywh), frame.image_size)


def slot_ids(frame: FrameOutput, targets: FrameTargets, *, unique: bool = False) -> Tensor:
    """Return the identity of the object assigned to each slot, ``(B, N)``; -1 if none or unknown.

    Args:
        frame: Slots of a frame.
        targets: Ground-truth objects of the same frame.
        unique: Whether only the track keeps the identity if a track and a detection are assigned to one object.

    >>> ids, time = torch.tensor([[7, 9]]), torch.tensor([1])
    >>> targets = FrameTargets(torch.rand(1, 2, 4), torch.zeros_like(ids), ids, ids > 0)
    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), time
    >>> slot_ids(FrameOutput(*slots, gt_index=torch.tensor([[1, -1, 0]])), targets)
    tensor([[ 9, -1,  7]])
    """
    assigned = (frame.gt_index >= 0) & frame.valid
    ids = take(targets.ids, frame.gt_index.clamp(min=0)).where(assigned, -1)
    if unique:
        same = (ids[:, :, None] == ids[:, None, :]) & frame.is_track[:, None, :]
        ids = ids.masked_fill(same.any(-1) & ~frame.is_track, -1)
    return ids


def slot_iou(frame: FrameOutput, targets: FrameTargets) -> Tensor:
    """Return the IoU of each slot with its object, ``(B, N)``, or the tracker's own values; 0 without an object.

    >>> boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    >>> ids, time = torch.tensor([[7]]), torch.tensor([1])
    >>> targets = FrameTargets(boxes[:, :1], torch.zeros_like(ids), ids, ids > 0)
    >>> slots = boxes, torch.zeros(1, 2, 1), torch.ones(1, 2).bool(), torch.ones(1, 2), time
    >>> slot_iou(FrameOutput(*slots, gt_index=torch.tensor([[0, -1]])), targets).round(decimals=3)
    tensor([[1., 0.]])
    """
    if frame.iou is not None:
        return frame.iou
    assigned = frame.valid & (frame.gt_index >= 0)
    # Masked before the division: unassigned slots may hold NaN, which would reach the gradients of the others.
    boxes = frame.boxes_cxcywh.where(assigned[..., None], 0)
    objects = take(targets.boxes_cxcywh, frame.gt_index.clamp(min=0)).to(boxes)
    overlap: Tensor = iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(objects))
    return overlap.where(assigned, 0)


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Predictions for each of ``I`` identities of a clip over ``T`` frames.

    Attributes:
        ids: Identities of shape ``(B, I)``, int64, ascending; -1 where padded.
        present: Boolean mask of shape ``(B, I, T)``, True where a slot was assigned to the identity. All other
            attributes are 0 elsewhere.
        boxes_cxcywh: Boxes of shape ``(B, I, T, 4)``.
        iou: Overlap with the ground truth, of shape ``(B, I, T)``.
        embeddings: Embeddings of shape ``(B, I, T, C)``, or None if the tracker has none.
    """

    ids: Tensor
    present: Tensor
    boxes_cxcywh: Tensor
    iou: Tensor
    embeddings: Tensor | None


def trajectories(clip: ClipOutput) -> Trajectories:
    """Sort the slots of a clip by identity; a track takes precedence over a detection of the same object.

    Raises:
        ValueError: If the clip has no targets.

    >>> ids = torch.tensor([[7, 9]])
    >>> targets = FrameTargets(torch.rand(1, 2, 4), torch.zeros_like(ids), ids, ids > 0)
    >>> def frame(gt_index, time):
    ...     slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2)
    ...     return FrameOutput(*slots, torch.tensor([time]), gt_index=torch.tensor([gt_index]))
    >>> found = trajectories(ClipOutput([frame([1, -1, 0], 1), frame([-1, 0, -1], 2)], [targets, targets]))
    >>> found.ids, found.present
    (tensor([[7, 9]]), tensor([[[ True,  True],
             [ True, False]]]))
    """
    if clip.targets is None:
        raise ValueError("clip.targets: expected the ground truth of every frame, got None; identities come from it")
    pairs = list(zip(clip.frames, clip.targets, strict=True))
    per_frame = [slot_ids(frame, targets, unique=True) for frame, targets in pairs]
    found: list[Tensor] = [torch.unique(torch.cat(rows)) for rows in zip(*per_frame, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence([row[row >= 0] for row in found], batch_first=True, padding_value=-1)
    same = [(ids[:, :, None] == slots[:, None, :]) & (ids >= 0)[:, :, None] for slots in per_frame]

    def collect(values: Sequence[Tensor]) -> Tensor:
        rows = []
        for value, match in zip(values, same, strict=True):
            # where() instead of a product, because slots without identity may hold NaN.
            present = match.any(-1).reshape(*ids.shape, *[1] * (value.ndim - 2))
            index = match.long().argmax(-1) if match.shape[-1] else torch.zeros_like(ids)
            rows.append(take(value, index).where(present, 0))
        return torch.stack(rows, 2)

    embeddings = [frame.embeddings for frame in clip.frames if frame.embeddings is not None]
    return Trajectories(
        ids=ids,
        present=torch.stack([match.any(-1) for match in same], 2),
        boxes_cxcywh=collect([frame.boxes_cxcywh for frame in clip.frames]),
        iou=collect([slot_iou(frame, targets) for frame, targets in pairs]),
        embeddings=collect(embeddings) if len(embeddings) == len(clip.frames) else None,
    )


def detections(frame: FrameOutput, threshold: float = 0.0) -> FrameOutput:
    """Return the slots with a score of at least ``threshold``, packed to the front, without identities.

    ``track_ids`` and ``gt_index`` of the result are -1, so that unsupervised methods cannot see labels.

    >>> logits = torch.tensor([[[-2.0], [3.0]]])
    >>> slots = torch.rand(1, 2, 4), logits, torch.ones(1, 2).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> detections(FrameOutput(*slots, gt_index=torch.tensor([[0, 1]])), threshold=0.5).gt_index
    tensor([[-1]])
    """
    kept = keep_slots(frame, frame.valid & (frame.logits.sigmoid().amax(-1) >= threshold))
    none = torch.full_like(kept.gt_index, -1)
    return replace(kept, track_ids=none, gt_index=none, is_track=torch.zeros_like(kept.valid), iou=None)


def split_slots(frame: FrameOutput) -> tuple[FrameOutput, FrameOutput]:
    """Split a frame into detections and tracks, each packed to the front and padded.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> born, old = split_slots(FrameOutput(*slots, is_track=torch.tensor([[True, False, False]])))
    >>> born.valid.sum().item(), old.valid.sum().item()
    (2, 1)
    """
    return keep_slots(frame, frame.valid & ~frame.is_track), keep_slots(frame, frame.valid & frame.is_track)


def keep_slots(frame: FrameOutput, keep: Tensor) -> FrameOutput:
    """Keep only the slots in ``keep (B, N)``, in order, padded to the largest number in the batch.

    Predictions of earlier layers (``aux``) are dropped.

    >>> boxes = torch.arange(12.0).view(1, 3, 4)
    >>> slots = boxes, torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> keep_slots(FrameOutput(*slots), torch.tensor([[False, True, False]])).boxes_cxcywh
    tensor([[[4., 5., 6., 7.]]])
    """
    size = int(keep.sum(-1).max()) if keep.numel() else 0
    index = (~keep).to(torch.uint8).argsort(dim=-1, stable=True)[:, :size]
    names = [name for name, shape in frame.SHAPES.items() if shape.split()[1:3] == ["B", "N"] and name != "valid"]
    values = {name: getattr(frame, name) for name in names}
    kept: dict[str, Any] = {name: take(value, index) for name, value in values.items() if value is not None}
    valid = take(keep, index)
    for name in ("track_ids", "gt_index"):
        kept[name] = kept[name].where(valid, -1)
    assoc = None if frame.assoc is None else take(frame.assoc.transpose(1, 2), index).transpose(1, 2)
    return replace(frame, **kept, valid=valid, assoc=assoc, aux=())


def take(values: Tensor, index: Tensor) -> Tensor:
    """Select rows of each clip: ``values (B, N, ...)`` at ``index (B, I)`` gives ``(B, I, ...)``; zeros if ``N`` is 0.

    >>> take(torch.tensor([[10, 11], [20, 21]]), torch.tensor([[1], [0]]))
    tensor([[11],
            [20]])
    """
    if not values.shape[1]:  # an empty sum is 0 and, unlike new_zeros(), stays in the graph
        values, index = values.sum(1, keepdim=True).to(values.dtype), torch.zeros_like(index)
    return values[torch.arange(len(values), device=values.device)[:, None], index]


def pad_stack(values: Sequence[Tensor], fill: float = 0) -> Tensor:
    """Stack ``T`` tensors ``(B, N_t, ...)`` into ``(B, T, N, ...)``, padded with ``fill``.

    >>> pad_stack([torch.ones(1, 1), torch.ones(1, 3)])
    tensor([[[1., 0., 0.],
             [1., 1., 1.]]])
    """
    size = max(value.shape[1] for value in values)
    padded = [
        torch.cat([value, value.new_full((len(value), size - value.shape[1], *value.shape[2:]), fill)], 1)
        for value in values
    ]
    return torch.stack(padded, 1)
