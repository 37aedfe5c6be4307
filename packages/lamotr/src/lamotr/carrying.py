"""Tracks of the next frame, from the association of this frame: in training by identity, in tracking by scores."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lamotr.association import ScoredFrame, matched_objects
from lamotr.functional.update import Exclusion, carried_ids, weighted_update
from lamotr.tracking import AssociationFrame, AssociationRules, ReportedTracks, Tracklets, track_associations
from mot_core.nn import inverse_sigmoid
from mot_core.slots import slot_ids, take
from mot_core.structures import FrameOutput, FrameTargets, TrackState


def carry_tracks(
    scored: ScoredFrame,
    frame: FrameOutput,
    targets: FrameTargets,
    before: TrackState | None,
    rules: AssociationRules,
    exclude: Exclusion = "both",
    *,
    demote: bool = True,
    keep_absent: bool = False,
    added: Tensor | None = None,
) -> TrackState:
    """Form the tracks of the next frame of a training clip (LA-MOTR, ICCV 2025, Section 3.4).

    Tracks are updated with the detection of the same object, and a detected object without a track starts one. As in
    tracking, a track without detection and with a low score keeps its query and box.

    Args:
        scored: Scores of the frame, whose embeddings and predictions are those of ``frame``.
        frame: The frame after matching, with ``gt_index`` and ``iou``.
        targets: Ground truth.
        before: Tracks that were decoded in this frame, as this function returned them.
        rules: Rules of tracking, of which the thresholds of tracks and the weight are used.
        exclude: Rule that excludes targets; see :func:`lamotr.carried_ids`.
        demote: Whether a kept target with a low IoU loses its identity.
        keep_absent: Whether a track whose object has left keeps its identity until the end of the clip, whatever its
            score, so that its return is learned. The paper does not describe it.
        added: Boolean mask of shape ``(B, N)`` of slots without object that become tracks without identity, so that the
            tracker learns to end false tracks.

    Returns:
        Tracks in the order of the slots, older ones first, with ``queries`` of ``C`` channels, boxes as ``ref_logits``
        without gradient, and ``misses`` of 0 for tracks that were seen and 1 for others.

    Raises:
        ValueError: If the frame has no embeddings.

    >>> boxes, ids = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]]]), torch.tensor([[8, 5]])
    >>> targets = FrameTargets(boxes, torch.zeros_like(ids), ids, ids > 0)
    >>> frame = FrameOutput(boxes, torch.zeros(1, 2, 1), ids > 0, torch.ones(1, 2), torch.tensor([1]),
    ...     gt_index=torch.tensor([[0, -1]]), embeddings=torch.rand(1, 2, 4), iou=torch.ones(1, 2))
    >>> scored = ScoredFrame(frame, torch.zeros(1, 2, 0), torch.arange(2), torch.arange(0))
    >>> carry_tracks(scored, frame, targets, None, AssociationRules()).ids
    tensor([[8]])
    """
    if frame.embeddings is None:
        raise ValueError("frame.embeddings: expected the embeddings of all slots, got None")
    objects, tracklets = scored.objects, scored.tracklets
    order = torch.cat([tracklets, objects])
    probabilities = frame.logits.detach().sigmoid().amax(-1)
    matched = matched_objects(scored, frame)
    queries, boxes, seen = _updated(frame, scored, matched, probabilities[:, tracklets], before, rules)

    carries = frame.is_track & (frame.track_ids >= 0)
    absent = frame.valid & carries & (frame.gt_index < 0)
    ids = torch.where(absent, frame.track_ids, slot_ids(frame, targets, unique=True))
    overlaps = torch.zeros_like(probabilities) if frame.iou is None else frame.iou
    kept, kept_ids = carried_ids(ids, probabilities, overlaps, exclude, demote=demote)
    if keep_absent:
        kept, kept_ids = kept | absent, torch.where(absent, ids, kept_ids)
    kept = kept & frame.valid & (frame.is_track | (ids >= 0))
    if added is not None:
        kept = kept | added

    chosen = kept[:, order]
    size = int(chosen.sum(-1).max()) if chosen.numel() else 0
    index = (~chosen).to(torch.uint8).argsort(dim=-1, stable=True)[:, :size]
    valid = take(chosen, index)
    boxes = take(torch.cat([boxes, frame.boxes_cxcywh[:, objects].detach()], 1), index)
    misses = torch.cat([(~seen).long(), torch.zeros_like(frame.gt_index[:, objects])], 1)
    return TrackState(
        ids=take(kept_ids[:, order], index).where(valid, -1),
        valid=valid,
        boxes_cxcywh=boxes,
        scores=take(probabilities[:, order], index),
        misses=take(misses, index),
        embeddings=take(frame.embeddings[:, order], index),
        queries=take(torch.cat([queries, frame.embeddings[:, objects]], 1), index),
        ref_logits=inverse_sigmoid(boxes),
        memory=_memory(frame.embeddings, order, before, index),
    )


def advance_tracks(
    scored: ScoredFrame,
    frame: FrameOutput,
    state: Tracklets,
    before: TrackState | None,
    rules: AssociationRules,
    image_size: tuple[int, int],
) -> tuple[Tracklets, ReportedTracks, TrackState]:
    """Track the next frame of a stream by :func:`lamotr.track_associations`.

    Args:
        scored: Scores of the frame, a batch of one.
        frame: The frame, whose tracks are those of ``state`` in their order.
        state: Tracklets before the frame.
        before: Tracks that were decoded in this frame.
        rules: Thresholds and rules.
        image_size: (height, width) of the original frame in pixels.

    Returns:
        Tracklets after the frame, the reported tracks, and the tracklets for the detector and plug-ins, with a score of
        0 for those that are not reported.

    Raises:
        ValueError: If the frame has no embeddings.

    >>> slots = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), torch.full((1, 1, 1), 4.0), torch.ones(1, 1).bool()
    >>> frame = FrameOutput(*slots, torch.ones(1, 2), torch.tensor([1]), embeddings=torch.zeros(1, 1, 8))
    >>> scored = ScoredFrame(frame, torch.zeros(1, 1, 0), torch.arange(1), torch.arange(0))
    >>> empty, rules = Tracklets.empty(8), AssociationRules()
    >>> state, reported, tracks = advance_tracks(scored, frame, empty, None, rules, (480, 640))
    >>> reported.ids, tracks.queries.shape
    (tensor([1]), torch.Size([1, 1, 8]))
    """
    if frame.embeddings is None:
        raise ValueError("frame.embeddings: expected the embeddings of all slots, got None")
    objects, tracklets = scored.objects, scored.tracklets
    rows = objects[frame.valid[0, objects]]
    found = AssociationFrame(
        frame.embeddings[0, rows],
        frame.embeddings[0, tracklets],
        frame.logits[0, rows],
        frame.logits[0, tracklets],
        frame.boxes_cxcywh[0, rows],
        frame.boxes_cxcywh[0, tracklets],
        scored.score_logits[0, frame.valid[0, objects]].sigmoid(),
        image_size,
    )
    following, reported = track_associations(state, found, rules)
    # Inactive tracklets that ended are dropped, and new ones have no row among the tracks of this frame.
    same = following.ids[:, None] == state.ids[None, :]
    born = torch.cat([found.tck_embed, found.obj_embed])
    old = same.any(1)
    row = same.to(torch.uint8).argmax(1) if same.shape[1] else torch.zeros_like(following.ids)
    embeddings = torch.where(old[:, None], born[row], following.query) if len(born) else following.query
    memory = torch.cat([following.query, following.query], -1)
    if before is not None and before.memory is not None and same.shape[1]:
        memory = torch.where(old[:, None], before.memory[0, row], memory)
    shown = following.ids[:, None] == reported.ids[None, :]
    scores = (shown * reported.scores).sum(1)
    tracks = TrackState(
        following.ids[None],
        torch.ones_like(following.ids, dtype=torch.bool)[None],
        following.boxes_cxcywh[None],
        scores[None],
        following.misses[None],
        embeddings[None],
        following.query[None],
        inverse_sigmoid(following.boxes_cxcywh)[None],
        memory[None],
    )
    return following, reported, tracks


def _updated(
    frame: FrameOutput,
    scored: ScoredFrame,
    matched: Tensor,
    scores: Tensor,
    before: TrackState | None,
    rules: AssociationRules,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries and boxes of the tracks for the next frame, and whether they were seen, ``(B, K, ...)``."""
    assert frame.embeddings is not None, "checked by the caller"
    objects, tracklets = scored.objects, scored.tracklets
    outputs, boxes = frame.embeddings[:, tracklets], frame.boxes_cxcywh[:, tracklets].detach()
    if before is None or before.queries is None or before.boxes_cxcywh is None or not len(tracklets):
        return outputs, boxes, torch.ones_like(matched, dtype=torch.bool)
    confident = (scores >= rules.track_threshold)[..., None]
    kept = outputs.where(confident, before.queries[..., -outputs.shape[-1] :])
    queries = weighted_update(outputs, frame.embeddings[:, objects], matched, rules.weight, kept)
    has_object = (matched >= 0)[..., None]
    of_object = take(frame.boxes_cxcywh[:, objects].detach(), matched.clamp(min=0))
    boxes = boxes.where(confident, of_object.where(has_object, before.boxes_cxcywh))
    return queries, boxes, (confident | has_object)[..., 0]


def _memory(embeddings: Tensor, order: Tensor, before: TrackState | None, index: Tensor) -> Tensor:
    """Gather the memories of the tracks; that of a new one is its embedding, twice: long-term and previous output."""
    own = embeddings[:, order]
    memory = torch.cat([own, own], -1)
    if before is not None and before.memory is not None:
        memory = torch.cat([before.memory, memory[:, before.memory.shape[1] :]], 1)
    return take(memory, index)


def with_queries(state: Tracklets, tracks: TrackState) -> Tracklets:
    """Return tracklets with the queries of ``tracks``, which an updater or plug-in may have changed.

    >>> state = replace(Tracklets.empty(2), ids=torch.tensor([1]))
    >>> ids = torch.tensor([[1]])
    >>> with_queries(state, TrackState(ids, ids > 0, queries=torch.ones(1, 1, 2))).query
    tensor([[1., 1.]])
    """
    return state if tracks.queries is None else replace(state, query=tracks.queries[0])
