"""Tracks of MeMOTR: selection of slots, and their queries, anchors and memories."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mot_core.nn import inverse_sigmoid
from mot_core.slots import take
from mot_core.structures import FrameOutput, TrackState
from mot_core.trackers.motr import track_queries


@torch.no_grad()
def keep_confident(frame: FrameOutput, ids: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Select the tracks of the next frame in training, as the released code does.

    A slot is kept if it has an identity, or if it has no object but a score above the threshold. A kept slot with a low
    IoU with its object loses the identity: the object must be detected again, and the tracker learns to end the track.
    This includes tracks whose object has left.

    Args:
        frame: Matched frame, with ``iou``.
        ids: ``(B, N)`` identities after matching.
        threshold: Score above which a slot without object is kept.

    Returns:
        ``(B, N)`` masks of slots kept because of their identity and because of their score, and the new identities.

    >>> slots = torch.rand(1, 3, 4), torch.tensor([[[-9.0], [-9.0], [9.0]]]), torch.ones(1, 3).bool(), torch.ones(1, 2)
    >>> frame = FrameOutput(*slots, torch.tensor([1]), iou=torch.tensor([[0.4, 0.6, 0.0]]))
    >>> keep_confident(frame, torch.tensor([[3, 4, -1]]), threshold=0.5)
    (tensor([[ True,  True, False]]), tensor([[False, False,  True]]), tensor([[-1,  4, -1]]))
    """
    overlap = frame.valid.new_zeros(frame.valid.shape, dtype=torch.float32) if frame.iou is None else frame.iou
    keep = frame.valid & (ids >= 0)
    # A detection of an object that has a track, or whose identity is unknown, is not a false positive.
    empty = frame.valid & (ids < 0) & (frame.gt_index < 0)
    added = empty & (frame.logits.sigmoid().amax(-1) > threshold)
    return keep, added, ids.where(overlap >= track_queries.MIN_IOU, -1)


def form_memories(
    frame: FrameOutput,
    ids: Tensor,
    learned: Tensor,
    before: TrackState | None,
    keep: Tensor,
    added: Tensor | None = None,
    misses: Tensor | None = None,
) -> TrackState:
    """Gather the selected slots as tracks: older tracks first, then new ones.

    The memory of a track is its long-term memory, followed by its last confident output. A new track starts with the
    query and the reference that entered the last decoder layer; its memory is the content of this query, followed by
    its output.

    Args:
        frame: Predictions with ``N`` slots.
        ids: ``(B, N)`` identities.
        learned: Learned queries, ``(n, C)`` with anchors, else ``(n, 2C)`` with the position first.
        before: Tracks that were decoded in this frame, in its last slots.
        keep: ``(B, N)`` bool, slots kept for their identity.
        added: ``(B, N)`` bool, slots kept without identity.
        misses: ``(B, N)`` int64 consecutive misses.

    Returns:
        Tracks before their update, with ``memory (B, M, 2C)``.

    Raises:
        ValueError: If the frame has no embeddings.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> frame, ids = FrameOutput(*slots, embeddings=torch.ones(1, 3, 8)), torch.tensor([[-1, 4, 2]])
    >>> tracks = form_memories(frame, ids, torch.zeros(3, 8), None, keep=ids >= 0)
    >>> tracks.ids, tracks.memory.mean().item(), tracks.ref_logits.shape
    (tensor([[4, 2]]), 0.5, torch.Size([1, 2, 4]))
    """
    if frame.embeddings is None:
        raise ValueError("frame.embeddings: expected the outputs of the last decoder layer, got None")
    count, width = learned.shape[0], frame.embeddings.shape[-1]
    with_position = learned.shape[-1] > width
    learned = learned.expand(len(ids), -1, -1)
    entered = frame.aux[-1].embeddings if frame.aux else None
    content = learned[..., -width:] if entered is None else entered[:, :count]
    boxes = frame.boxes_cxcywh if frame.ref_boxes_cxcywh is None else frame.ref_boxes_cxcywh
    references = inverse_sigmoid(boxes[:, :count, : 2 if with_position else 4].detach())
    queries = torch.cat([learned[..., :width], content], -1) if with_position else content
    memory = torch.cat([content, frame.embeddings[:, :count]], -1)
    if before is not None and before.queries is not None and before.ref_logits is not None:
        carried = before.memory
        if carried is None:  # tracks formed by a plug-in
            carried = torch.cat([before.queries[..., -width:], frame.embeddings[:, count:]], -1)
        queries = torch.cat([queries, before.queries], 1)
        references = torch.cat([references, before.ref_logits], 1)
        memory = torch.cat([memory, carried], 1)
    chosen = keep if added is None else keep | added
    index, valid = track_queries.order_slots(chosen & frame.is_track, chosen)
    tracks = track_queries.gather_tracks(frame, ids, queries, index, valid, misses)
    return replace(tracks, ref_logits=take(references, index), memory=take(memory, index))
