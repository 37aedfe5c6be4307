"""Conversion of a mot-core tracker's output to a :class:`unitrack_loss.TrackClip`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy
from mot_core.slots import pad_stack, slot_ids, take
from mot_core.structures import ClipOutput
from unitrack_loss.clip import TrackClip


def track_clip(clip: ClipOutput, min_score: float = 0.1) -> TrackClip:
    """Convert the slots of a tracker to a clip, preserving gradients.

    Slots that the tracker assigned to an object of known identity are detections. Other slots are detections if they
    are tracks or have a score of at least ``min_score``, because most queries of a detector are background. If a track
    and a detection belong to one object, the track is kept.

    Args:
        clip: Outputs and targets of all frames.
        min_score: Minimum score of slots without an object.

    Raises:
        ValueError: If the clip has no targets.

    >>> from mot_core.structures import FrameOutput, FrameTargets
    >>> ids = torch.tensor([[7, 9]])
    >>> targets = FrameTargets(torch.rand(1, 2, 4), torch.zeros_like(ids), ids, ids > 0)
    >>> logits = torch.tensor([[[2.0], [-9.0], [-9.0]]])  # a false positive, background, and object 9
    >>> frame = FrameOutput(torch.rand(1, 3, 4), logits, logits[..., 0] < 9, torch.tensor([[480, 640]]),
    ...     torch.tensor([1]), gt_index=torch.tensor([[-1, -1, 1]]))
    >>> track_clip(ClipOutput([frame], [targets])).det_gt
    tensor([[[-1,  9]]])
    """
    if clip.targets is None:
        raise ValueError("clip: expected targets with identities, got None; use a data module with identities")
    frames, targets = clip.frames, clip.targets
    size = frames[0].image_size
    logits = pad_stack([frame.logits.max(-1).values for frame in frames])
    det_gt = pad_stack([slot_ids(frame, truth, unique=True) for frame, truth in zip(frames, targets, strict=True)], -1)
    assigned = pad_stack([frame.gt_index >= 0 for frame in frames])
    candidate = pad_stack([frame.is_track for frame in frames]) | (logits.detach().sigmoid() >= min_score)
    # An assigned slot without an identity is an unlabeled object, or the second slot of an object.
    keep = pad_stack([frame.valid for frame in frames]) & torch.where(assigned, det_gt >= 0, candidate)
    count = int(keep.sum(-1).max()) if keep.numel() else 0
    order = (~keep).to(torch.uint8).argsort(dim=-1, stable=True)[..., :count]

    known = pad_stack([truth.valid for truth in targets])
    embeddings = [frame.embeddings for frame in frames if frame.embeddings is not None]
    times = torch.stack([frame.time for frame in frames], 1)
    assoc = _assoc(clip, order, logits.shape[2])
    return TrackClip(
        boxes_xyxy=_pixels(_rows(pad_stack([frame.boxes_cxcywh for frame in frames]), order), size),
        logits=_rows(logits, order),
        valid=_rows(keep, order),
        det_gt=_rows(det_gt, order),
        gt_boxes_xyxy=_pixels(pad_stack([truth.boxes_cxcywh for truth in targets]), size),
        gt_ids=pad_stack([truth.ids for truth in targets]).where(known, -1),
        image_size=size,
        embed=_rows(pad_stack(embeddings), order) if assoc is None and len(embeddings) == len(frames) else None,
        assoc_logits=assoc,
        frame_stride=times.diff(dim=1).float().mean(1) if len(frames) > 1 else None,
        video=None if clip.sequence_numbers is None else torch.tensor(clip.sequence_numbers, device=logits.device),
    )


def _assoc(clip: ClipOutput, order: Tensor, slots: int) -> Tensor | None:
    """Return association logits ``(B, T - 1, n, n)`` of the slots in ``order (B, T, n)``, or None without any."""
    given = [frame.assoc for frame in clip.frames[1:] if frame.assoc is not None]
    if not given or len(given) < len(clip.frames) - 1:
        return None
    padded = [F.pad(one, (0, slots - one.shape[2], 0, slots - one.shape[1])) for one in given]
    rows = _rows(torch.stack(padded, 1), order[:, :-1])
    return _rows(rows.transpose(2, 3), order[:, 1:]).transpose(2, 3)


def _pixels(boxes_cxcywh: Tensor, image_size: Tensor) -> Tensor:
    """Convert ``(B, T, N, 4)`` to corners in pixels, in single precision because half cannot represent odd pixels."""
    corners = cxcywh_to_xyxy(boxes_cxcywh.to(torch.promote_types(boxes_cxcywh.dtype, torch.float32)))
    return corners * image_size.to(corners)[:, None, None, [1, 0, 1, 0]]


def _rows(values: Tensor, order: Tensor) -> Tensor:
    """Gather ``values (B, T, N, ...)`` at ``order (B, T, n)``."""
    rows = take(values.flatten(0, 1), order.flatten(0, 1))
    return rows.reshape(*order.shape, *values.shape[3:])
