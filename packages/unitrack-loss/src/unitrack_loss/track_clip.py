"""From what a tracker of mot-core hands to plug-ins to what the loss looks at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy
from mot_core.slots import pad_stack, slot_ids, take
from mot_core.structures import ClipOutput
from unitrack_loss.clip import TrackClip


def track_clip(clip: ClipOutput, min_score: float = 0.1) -> TrackClip:
    """The detections in the slots of a tracker, with their gradients.

    Detections are the slots to which the tracker assigned an object with a known identity, and of the others the tracks
    and those with a score of at least ``min_score``: most queries of a detector are background. Of a track and a
    detection of one object, it is the track.

    Args:
        clip: all frames, with targets.
        min_score: of slots without an object.

    Raises:
        ValueError: the clip has no targets, and so no identities.

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
        raise ValueError("track_clip: the clip has no targets, so there are no identities to learn")
    frames, targets = clip.frames, clip.targets
    size = frames[0].image_size
    logits = pad_stack([frame.logits.max(-1).values for frame in frames])
    det_gt = pad_stack([slot_ids(frame, truth, unique=True) for frame, truth in zip(frames, targets, strict=True)], -1)
    assigned = pad_stack([frame.gt_index >= 0 for frame in frames])
    candidate = pad_stack([frame.is_track for frame in frames]) | (logits.detach().sigmoid() >= min_score)
    # What is assigned and has no identity here is an object without a label, or the second slot of an object.
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
    )


def _assoc(clip: ClipOutput, order: Tensor, slots: int) -> Tensor | None:
    """``(B, T - 1, n, n)`` association logits of the slots in ``order (B, T, n)``, if the tracker has them."""
    given = [frame.assoc for frame in clip.frames[1:] if frame.assoc is not None]
    if not given or len(given) < len(clip.frames) - 1:
        return None
    padded = [F.pad(one, (0, slots - one.shape[2], 0, slots - one.shape[1])) for one in given]
    rows = _rows(torch.stack(padded, 1), order[:, :-1])
    return _rows(rows.transpose(2, 3), order[:, 1:]).transpose(2, 3)


def _pixels(boxes_cxcywh: Tensor, image_size: Tensor) -> Tensor:
    """Corners in pixels of ``(B, T, N, 4)``, in single precision: in half, a large image has no odd pixels."""
    corners = cxcywh_to_xyxy(boxes_cxcywh.to(torch.promote_types(boxes_cxcywh.dtype, torch.float32)))
    return corners * image_size.to(corners)[:, None, None, [1, 0, 1, 0]]


def _rows(values: Tensor, order: Tensor) -> Tensor:
    """``values (B, T, N, ...)`` at ``order (B, T, n)``."""
    rows = take(values.flatten(0, 1), order.flatten(0, 1))
    return rows.reshape(*order.shape, *values.shape[3:])
