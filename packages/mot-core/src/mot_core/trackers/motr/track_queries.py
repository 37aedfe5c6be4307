"""Selection of the slots of a frame that become track queries of the next frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou
from mot_core.nn import inverse_sigmoid
from mot_core.slots import slot_ids, take
from mot_core.structures import FrameOutput, FrameTargets, TrackState
from mot_core.trackers.motr.collective_loss import vanished

MIN_IOU = 0.5
"""IoU with its object above which a slot becomes a track."""


def next_ids(frame: FrameOutput, targets: FrameTargets) -> Tensor:
    """Return the identity of every slot after matching, ``(B, N)``: that of its object, else its own; -1 for none.

    >>> ids, time = torch.tensor([[7]]), torch.tensor([1])
    >>> targets = FrameTargets(torch.rand(1, 1, 4), torch.zeros_like(ids), ids, ids > 0)
    >>> frame = FrameOutput(torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), time,
    ...     is_track=torch.tensor([[False, False, True]]), track_ids=torch.tensor([[-1, -1, 5]]),
    ...     gt_index=torch.tensor([[-1, 0, -1]]))
    >>> next_ids(frame, targets)
    tensor([[-1,  7,  5]])
    """
    return torch.where(vanished(frame), frame.track_ids, slot_ids(frame, targets, unique=True))


@torch.no_grad()
def choose_tracks(
    frame: FrameOutput, ids: Tensor, generators: Sequence[torch.Generator], drop: float, insert: float
) -> tuple[Tensor, Tensor]:
    """Select the tracks of the next frame in training, with random drops and inserted false positives.

    A track whose object has left is kept, because the object may return.

    Args:
        frame: Matched frame, with ``iou``.
        ids: ``(B, N)`` identities after matching.
        generators: One random generator per clip, so that clips are independent of their batch.
        drop: Probability that a track is dropped, so that its object must be detected again.
        insert: Probability that a track adds the slot without object that overlaps it most, so that the tracker learns
            to end false tracks.

    Returns:
        Two ``(B, N)`` masks: slots kept with their identity, and added slots without object.
    """
    overlap = frame.valid.new_zeros(frame.valid.shape, dtype=torch.float32) if frame.iou is None else frame.iou
    keep = (ids >= 0) & frame.valid & (vanished(frame) | (overlap > MIN_IOU))
    added = torch.zeros_like(keep)
    for clip, generator in enumerate(generators):
        rows = keep[clip].nonzero().squeeze(1)
        chance = torch.rand(2, len(rows), generator=generator)
        keep[clip, rows[(chance[0] < drop).to(rows.device)]] = False
        chosen = rows[((chance[0] >= drop) & (chance[1] < insert)).to(rows.device)]
        empty = (frame.valid[clip] & (ids[clip] < 0) & (frame.gt_index[clip] < 0)).nonzero().squeeze(1)
        if len(chosen) and len(empty):
            corners = cxcywh_to_xyxy(frame.boxes_cxcywh[clip])
            added[clip, empty[pairwise_iou(corners[chosen], corners[empty]).argmax(-1)]] = True
    return keep, added


def form_tracks(
    frame: FrameOutput,
    ids: Tensor,
    queries: Tensor,
    keep: Tensor,
    added: Tensor | None = None,
    misses: Tensor | None = None,
) -> TrackState:
    """Gather the selected slots as tracks, padded to the largest number in any clip, with the queries of this frame.

    Args:
        frame: Predictions with ``N`` slots.
        ids: ``(B, N)`` identities.
        queries: ``(B, N, 2C)`` queries from which the frame was decoded.
        keep: ``(B, N)`` bool, slots kept in their order.
        added: ``(B, N)`` bool, slots without identity, appended after the others.
        misses: ``(B, N)`` int64 consecutive misses, see :class:`TrackState`.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> frame, ids = FrameOutput(*slots, embeddings=torch.zeros(1, 3, 8)), torch.tensor([[-1, 4, 2]])
    >>> tracks = form_tracks(frame, ids, torch.zeros(1, 3, 16), keep=ids >= 0, added=ids < 0)
    >>> tracks.ids, tracks.ref_logits.shape
    (tensor([[ 4,  2, -1]]), torch.Size([1, 3, 2]))
    """
    index, valid = order_slots(keep) if added is None else order_slots(keep, added)
    tracks = gather_tracks(frame, ids, queries, index, valid, misses)
    assert tracks.boxes_cxcywh is not None, "gathered"
    return replace(tracks, ref_logits=inverse_sigmoid(tracks.boxes_cxcywh[..., :2]))


def gather_tracks(
    frame: FrameOutput, ids: Tensor, queries: Tensor, index: Tensor, valid: Tensor, misses: Tensor | None = None
) -> TrackState:
    """Gather slots as tracks; boxes and scores carry no gradient.

    Args:
        frame: Predictions with ``N`` slots.
        ids: ``(B, N)`` identities.
        queries: ``(B, N, ...)`` queries from which the frame was decoded.
        index: ``(B, M)`` slots of the tracks, see :func:`order_slots`.
        valid: ``(B, M)`` bool, False for padding.
        misses: ``(B, N)`` int64 consecutive misses, see :class:`TrackState`.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> index, valid = torch.tensor([[2, 0]]), torch.tensor([[True, False]])
    >>> gather_tracks(FrameOutput(*slots), torch.tensor([[5, 6, 7]]), torch.zeros(1, 3, 8), index, valid).ids
    tensor([[ 7, -1]])
    """
    return TrackState(
        ids=take(ids, index).where(valid, -1),
        valid=valid,
        boxes_cxcywh=take(frame.boxes_cxcywh, index).detach(),
        scores=take(frame.logits, index).detach().sigmoid().amax(-1),
        misses=None if misses is None else take(misses, index),
        embeddings=None if frame.embeddings is None else take(frame.embeddings, index),
        queries=take(queries, index),
    )


def order_slots(*groups: Tensor) -> tuple[Tensor, Tensor]:
    """Order slots by group, and by position within a group.

    Args:
        groups: ``(B, N)`` masks; the first group of a slot counts.

    Returns:
        ``(B, M)`` indices of the selected slots, padded to the largest number in any clip, and the mask of those that
        are not padding.

    >>> order_slots(torch.tensor([[False, True, False]]), torch.tensor([[True, True, False]]))
    (tensor([[1, 0]]), tensor([[True, True]]))
    """
    rank = torch.full(groups[0].shape, len(groups), device=groups[0].device)
    for number in reversed(range(len(groups))):
        rank = rank.masked_fill(groups[number], number)
    size = int((rank < len(groups)).sum(-1).max()) if rank.numel() else 0
    rank, index = rank.sort(dim=-1, stable=True)
    return index[:, :size], rank[:, :size] < len(groups)
