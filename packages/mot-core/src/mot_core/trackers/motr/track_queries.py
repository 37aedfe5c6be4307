"""Which slots of a frame become the track queries of the next one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou
from mot_core.nn import inverse_sigmoid
from mot_core.slots import slot_ids, take
from mot_core.structures import FrameOutput, FrameTargets, TrackState
from mot_core.trackers.motr.collective_loss import vanished

MIN_IOU = 0.5
"""A slot that overlaps its object no more than this does not go on as a track."""


def next_ids(frame: FrameOutput, targets: FrameTargets) -> Tensor:
    """The identity of every slot after matching, ``(B, N)``, -1 for none: that of its object, or that it had.

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
    """The slots that go on in training: good ones, less some dropped at random, and a few that are no object.

    A track whose object is gone goes on too: the object may come back.

    Args:
        frame: matched, with ``iou``.
        ids: ``(B, N)`` identities after matching.
        generators: one for each clip; what is drawn for a clip does not depend on the others.
        drop: probability with which a track is lost, so that its object has to be found anew.
        insert: probability with which a track brings along the slot without object that overlaps it most, so that
            the tracker learns to end false tracks.

    Returns:
        ``(B, N)`` bool each: slots that go on with their identity, and slots without object that go on.
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
    """Slots as tracks, padded to the most of any clip; queries are still those of this frame.

    Args:
        frame: predictions, ``N`` slots.
        ids: ``(B, N)`` identities.
        queries: ``(B, N, 2C)`` with which the frame was decoded.
        keep: ``(B, N)`` bool, slots that go on, in their order.
        added: ``(B, N)`` bool, slots without identity that go on, after the others.
        misses: ``(B, N)`` int64, see :class:`TrackState`.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> frame, ids = FrameOutput(*slots, embeddings=torch.zeros(1, 3, 8)), torch.tensor([[-1, 4, 2]])
    >>> tracks = form_tracks(frame, ids, torch.zeros(1, 3, 16), keep=ids >= 0, added=ids < 0)
    >>> tracks.ids, tracks.ref_logits.shape
    (tensor([[ 4,  2, -1]]), torch.Size([1, 3, 2]))
    """
    chosen = keep if added is None else keep | added
    # A number for each slot, so that sorting brings the kept ones to the front, then the added ones.
    turn = torch.where(keep, 0, torch.where(chosen, 1, 2))
    size = int(chosen.sum(-1).max()) if chosen.numel() else 0
    index = turn.argsort(dim=-1, stable=True)[:, :size]
    valid = take(chosen, index)
    boxes = take(frame.boxes_cxcywh, index).detach()
    return TrackState(
        ids=take(ids, index).where(valid, -1),
        valid=valid,
        boxes_cxcywh=boxes,
        scores=take(frame.logits, index).detach().sigmoid().amax(-1),
        misses=None if misses is None else take(misses, index),
        embeddings=None if frame.embeddings is None else take(frame.embeddings, index),
        queries=take(queries, index),
        ref_logits=inverse_sigmoid(boxes[..., :2]),
    )
