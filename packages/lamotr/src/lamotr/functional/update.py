"""The query of a tracklet in the next frame, and the tracklets carried through a training clip."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Exclusion: TypeAlias = Literal["both", "either", "memotr", "none"]
"""Rule that excludes tracked targets from the next frame of a training clip."""


def weighted_update(
    tck_embed: Tensor, obj_embed: Tensor, matched: Tensor, weight: float, frozen: Tensor | None = None
) -> Tensor:
    r"""Mix the embedding of each tracklet with that of its matched object, without parameters.

    .. math::

        Q_j = w \, O^{tck}_j + (1 - w) \, O^{obj}_{i(j)}

    LA-MOTR (ICCV 2025, Eq. 2), with ``w`` of 1 on DanceTrack, 0.9 on SportsMOT and 0.5 on MOT17. The query of a
    tracklet without an object is its own embedding, unless ``frozen`` gives another one.

    Args:
        tck_embed: Embeddings of the tracklets of shape ``(..., K, C)``.
        obj_embed: Embeddings of the objects of shape ``(..., M, C)``.
        matched: Row of the object of each tracklet, of shape ``(..., K)``, int64; -1 for none.
        weight: Weight of the tracklet in [0, 1]. Lower values adapt faster to the current appearance.
        frozen: Queries of shape ``(..., K, C)`` to keep for tracklets without an object. None means their embeddings.

    Returns:
        Queries of shape ``(..., K, C)``.

    Raises:
        ValueError: If ``weight`` is outside of [0, 1].

    >>> tracklets, objects = torch.tensor([[1.0], [2.0]]), torch.tensor([[5.0]])
    >>> weighted_update(tracklets, objects, torch.tensor([0, -1]), 0.75).flatten().tolist()
    [2.0, 2.0]
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight: expected a number in [0, 1], got {weight}")
    kept = tck_embed if frozen is None else frozen
    if not obj_embed.shape[-2] or not tck_embed.shape[-2]:
        return kept
    rows = matched.clamp(min=0)[..., None].expand_as(tck_embed)
    mixed = weight * tck_embed + (1 - weight) * obj_embed.gather(-2, rows)
    return mixed.where((matched >= 0)[..., None], kept)


def carried_ids(
    ids: Tensor, scores: Tensor, overlaps: Tensor, exclude: Exclusion = "both", *, demote: bool = True
) -> tuple[Tensor, Tensor]:
    """Select the tracked targets that enter the next frame of a training clip.

    LA-MOTR excludes "tracked targets with detection scores below 0.5 and IoU below 0.5" (ICCV 2025, Section 4), which
    leaves room for interpretation:

    ======== ======================================================= ==========================================
    exclude  a target is dropped if                                  a kept target loses its identity if
    ======== ======================================================= ==========================================
    both     score < 0.5 and IoU < 0.5                               IoU < 0.5 and ``demote``
    either   score < 0.5 or IoU < 0.5                                never, because its IoU is at least 0.5
    memotr   score <= 0.5 and it has no identity (MeMOTR's code)     IoU < 0.5
    none     never                                                   IoU < 0.5 and ``demote``
    ======== ======================================================= ==========================================

    A target without an identity trains the tracker to end false tracks.

    Args:
        ids: Identities of shape ``(...)``; -1 for none.
        scores: Detection scores of shape ``(...)``.
        overlaps: IoU with the ground truth, of shape ``(...)``; 0 without ground truth.
        exclude: Rule.
        demote: Whether "both" and "none" remove the identity of a kept target with an IoU below 0.5.

    Returns:
        Boolean mask of the kept targets, and their identities in the next frame, both of shape ``(...)``.

    Raises:
        ValueError: If ``exclude`` is unknown.

    >>> ids, scores, overlaps = torch.tensor([1, 2, 3]), torch.tensor([0.9, 0.2, 0.2]), torch.tensor([0.3, 0.8, 0.1])
    >>> carried_ids(ids, scores, overlaps)
    (tensor([ True,  True, False]), tensor([-1,  2, -1]))
    """
    confident, accurate = scores >= 0.5, overlaps >= 0.5
    if exclude == "both":
        kept = confident | accurate
    elif exclude == "either":
        kept = confident & accurate
    elif exclude == "memotr":
        kept = (scores > 0.5) | (ids >= 0)
    elif exclude == "none":
        kept = torch.ones_like(confident)
    else:
        raise ValueError(f"exclude: expected both, either, memotr or none, got {exclude!r}")
    if demote or exclude == "memotr":
        ids = ids.where(accurate, -1)
    return kept, ids
