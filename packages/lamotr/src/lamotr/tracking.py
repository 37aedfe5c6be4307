"""Online tracking by association scores, independent of any framework: one stream, plain tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lamotr.functional.update import weighted_update

Matching: TypeAlias = Literal["hungarian", "greedy"]
"""Method that turns scores into pairs."""


@dataclass(frozen=True)
class AssociationRules:
    """Thresholds and rules of online tracking. The thresholds are those of LA-MOTR (ICCV 2025) on DanceTrack.

    Args:
        detection_threshold: Objects above this score are candidates for matches and births.
        association_threshold: Pairs above this association score are matched. Lower values bridge more occlusions but
            risk identity switches.
        track_threshold: Tracklets with at least this score are reported without a match.
        matching: "hungarian": pairs with the largest total score, of which those above the threshold remain. "greedy":
            pairs in descending order of their scores.
        weight: Weight of the tracklet in its next query; see :func:`lamotr.weighted_update`.
        patience: Frames after which an inactive tracklet ends. Higher values bridge longer occlusions.
        min_area: Boxes of at most this area in square pixels are not reported.

    Raises:
        ValueError: If a value is out of range.

    >>> AssociationRules().patience
    30
    """

    detection_threshold: float = 0.5
    association_threshold: float = 0.5
    track_threshold: float = 0.5
    matching: Matching = "hungarian"
    weight: float = 1.0
    patience: int = 30
    min_area: float = 100.0

    def __post_init__(self) -> None:
        for name in ("detection_threshold", "association_threshold", "track_threshold", "weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number in [0, 1], got {getattr(self, name)}")
        if self.matching not in ("hungarian", "greedy"):
            raise ValueError(f"matching: expected hungarian or greedy, got {self.matching!r}")
        if self.patience < 1 or self.min_area < 0:
            raise ValueError(f"patience, min_area: expected at least 1 and 0, got {self.patience} and {self.min_area}")


@dataclass(frozen=True, eq=False)
class Tracklets:
    """All live tracklets of one stream, active and inactive, between two frames.

    Attributes:
        ids: Identities of shape ``(K,)``, int64.
        query: Queries for the next frame of shape ``(K, C)``.
        boxes_cxcywh: Last reported boxes in [0, 1], of shape ``(K, 4)``, the references of the next frame.
        misses: Frames since each tracklet was last active, of shape ``(K,)``, int64; 0 for active ones.
        next_id: Identity of the next new tracklet.
    """

    ids: Tensor
    query: Tensor
    boxes_cxcywh: Tensor
    misses: Tensor
    next_id: int = 1

    @classmethod
    def empty(cls, embed_dim: int, device: torch.device | str = "cpu") -> Tracklets:
        """Return the state before the first frame.

        >>> Tracklets.empty(8).query.shape
        torch.Size([0, 8])
        """
        numbers = torch.zeros(0, dtype=torch.int64, device=device)
        floats = torch.zeros(0, embed_dim, device=device)
        return cls(numbers, floats, floats.new_zeros(0, 4), numbers)


@dataclass(frozen=True, eq=False)
class AssociationFrame:
    """Predictions of one frame for ``M`` objects and the ``K`` live tracklets, without batch dimension.

    Attributes:
        obj_embed: Embeddings of the objects of shape ``(M, C)``.
        tck_embed: Embeddings of the tracklets of shape ``(K, C)``.
        obj_logits: Class logits of the objects of shape ``(M, L)``.
        tck_logits: Class logits of the tracklets of shape ``(K, L)``.
        obj_boxes_cxcywh: Boxes of the objects in [0, 1], of shape ``(M, 4)``.
        tck_boxes_cxcywh: Boxes of the tracklets in [0, 1], of shape ``(K, 4)``.
        scores: Association scores in [0, 1], of shape ``(M, K)``.
        image_size: (height, width) in pixels, for ``min_area``.
    """

    obj_embed: Tensor
    tck_embed: Tensor
    obj_logits: Tensor
    tck_logits: Tensor
    obj_boxes_cxcywh: Tensor
    tck_boxes_cxcywh: Tensor
    scores: Tensor
    image_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class ReportedTracks:
    """Tracks reported in one frame.

    Attributes:
        ids: Identities of shape ``(R,)``, int64.
        boxes_cxcywh: Boxes in [0, 1], of shape ``(R, 4)``.
        scores: Scores of shape ``(R,)``.
        classes: Classes of shape ``(R,)``, int64.
    """

    ids: Tensor
    boxes_cxcywh: Tensor
    scores: Tensor
    classes: Tensor


def match_tracklets(scores: Tensor, candidates: Tensor, threshold: float, matching: Matching = "hungarian") -> Tensor:
    """Match tracklets one-to-one to candidate objects by their association scores.

    Args:
        scores: Association scores of shape ``(M, K)``.
        candidates: Boolean mask of shape ``(M,)``, True for objects that may be matched.
        threshold: Pairs at or below this score stay unmatched.
        matching: "hungarian" or "greedy".

    Returns:
        Row of the object of each tracklet, of shape ``(K,)``, int64; -1 for none.

    >>> scores = torch.tensor([[0.9, 0.8], [0.7, 0.3]])
    >>> match_tracklets(scores, torch.ones(2).bool(), 0.5).tolist()
    [1, 0]
    >>> match_tracklets(scores, torch.ones(2).bool(), 0.5, "greedy").tolist()
    [0, -1]
    """
    values = scores.detach().cpu().double().numpy()
    result = np.full(values.shape[1], -1, np.int64)
    rows = candidates.cpu().numpy().nonzero()[0]
    found = values[rows]
    if matching == "hungarian":
        for row, column in zip(*linear_sum_assignment(found, maximize=True), strict=True):
            if found[row, column] > threshold:
                result[column] = rows[row]
    else:
        used = set()
        above = np.argwhere(found > threshold)
        for row, column in above[np.argsort(-found[tuple(above.T)], kind="stable")].tolist():
            if row not in used and result[column] < 0:
                used.add(row)
                result[column] = rows[row]
    return torch.from_numpy(result).to(scores.device)


def find_births(scores: Tensor, candidates: Tensor, matched: Tensor, threshold: float) -> Tensor:
    """Find the objects that become new tracklets: unmatched candidates that belong to no live tracklet.

    An object with a score above the threshold for any tracklet, even an inactive one, is a duplicate of that tracklet
    if it lost the match.

    Args:
        scores: Association scores of shape ``(M, K)``.
        candidates: Boolean mask of shape ``(M,)`` of the detected objects.
        matched: Row of the object of each tracklet, of shape ``(K,)``; -1 for none.
        threshold: Association score above which an object belongs to a tracklet.

    Returns:
        Boolean mask of shape ``(M,)``.

    >>> scores = torch.tensor([[0.9], [0.8], [0.1]])
    >>> find_births(scores, torch.ones(3).bool(), torch.tensor([0]), 0.5).tolist()
    [False, False, True]
    """
    free = candidates & ~(scores > threshold).any(1)
    free[matched[matched >= 0]] = False
    return free


@torch.no_grad()
def track_associations(
    state: Tracklets, frame: AssociationFrame, rules: AssociationRules | None = None
) -> tuple[Tracklets, ReportedTracks]:
    """Advance all tracklets of a stream by one frame (LA-MOTR, ICCV 2025, Section 3.4).

    A tracklet is active if its own score is high enough or an object matches it, which re-acquires it after an
    occlusion. It then reports its own box, or that of the object if its own score is too low. An inactive tracklet
    keeps its query and box until it ends. Objects that belong to no tracklet start new ones, in descending order of
    their scores.

    Args:
        state: Tracklets before the frame, whose queries gave the tracklet rows of ``frame``.
        frame: Predictions of the frame.
        rules: Thresholds and rules.

    Returns:
        Tracklets after the frame, and the reported tracks: active tracklets, then new ones.

    Raises:
        ValueError: If the shapes do not match.

    >>> box, certain, embed = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.full((1, 1), 4.0), torch.zeros(1, 8)
    >>> state = Tracklets.empty(8)
    >>> first = AssociationFrame(embed, embed[:0], certain, certain[:0], box, box[:0], torch.zeros(1, 0), (480, 640))
    >>> state, tracks = track_associations(state, first)
    >>> second = AssociationFrame(embed, embed, certain, -certain, box, box, torch.full((1, 1), 0.9), (480, 640))
    >>> track_associations(state, second)[1].ids
    tensor([1])
    """
    rules = rules or AssociationRules()
    _check(state, frame)
    obj_scores, obj_classes = _best(frame.obj_logits)
    tck_scores, tck_classes = _best(frame.tck_logits)
    candidates = obj_scores > rules.detection_threshold
    matched = match_tracklets(frame.scores, candidates, rules.association_threshold, rules.matching)
    born = find_births(frame.scores, candidates, matched, rules.association_threshold).nonzero().squeeze(1)
    born = born[_order(obj_scores[born], frame.obj_boxes_cxcywh[born])]

    has_object, seen = matched >= 0, tck_scores >= rules.track_threshold
    active = has_object | seen
    row = matched[has_object]
    scores, classes, boxes = tck_scores.clone(), tck_classes.clone(), frame.tck_boxes_cxcywh.clone()
    scores[has_object] = torch.maximum(scores[has_object], obj_scores[row])
    lost = ~seen[has_object]
    columns = has_object.nonzero().squeeze(1)[lost]
    boxes[columns], classes[columns] = frame.obj_boxes_cxcywh[row[lost]], obj_classes[row[lost]]
    kept_query = torch.where(seen[:, None], frame.tck_embed, state.query)
    query = weighted_update(frame.tck_embed, frame.obj_embed, matched, rules.weight, kept_query)

    ids = torch.arange(state.next_id, state.next_id + len(born), device=state.ids.device)
    following = Tracklets(
        torch.cat([state.ids, ids]),
        torch.cat([query, frame.obj_embed[born]]),
        torch.cat([torch.where(active[:, None], boxes, state.boxes_cxcywh), frame.obj_boxes_cxcywh[born]]),
        torch.cat([torch.where(active, 0, state.misses + 1), torch.zeros_like(ids)]),
        state.next_id + len(born),
    )
    tracks = ReportedTracks(
        torch.cat([state.ids[active], ids]),
        torch.cat([boxes[active], frame.obj_boxes_cxcywh[born]]),
        torch.cat([scores[active], obj_scores[born]]),
        torch.cat([classes[active], obj_classes[born]]),
    )
    return _alive(following, rules.patience), _large(tracks, frame.image_size, rules.min_area)


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    scores, classes = logits.float().sigmoid().max(-1)
    return scores, classes


def _order(scores: Tensor, boxes: Tensor) -> Tensor:
    """Return the order of new tracklets, which must not depend on the order of the queries."""
    keys = [*boxes.cpu().numpy().T[::-1], -scores.cpu().numpy()]
    return torch.from_numpy(np.lexsort(keys)).to(scores.device)


def _alive(state: Tracklets, patience: int) -> Tracklets:
    keep = state.misses < patience
    return replace(
        state,
        ids=state.ids[keep],
        query=state.query[keep],
        boxes_cxcywh=state.boxes_cxcywh[keep],
        misses=state.misses[keep],
    )


def _large(tracks: ReportedTracks, image_size: tuple[int, int], min_area: float) -> ReportedTracks:
    height, width = image_size
    keep = tracks.boxes_cxcywh[:, 2] * width * tracks.boxes_cxcywh[:, 3] * height > min_area
    return ReportedTracks(*(getattr(tracks, name)[keep] for name in ("ids", "boxes_cxcywh", "scores", "classes")))


def _check(state: Tracklets, frame: AssociationFrame) -> None:
    objects, tracklets = len(frame.obj_embed), len(state.ids)
    if tuple(frame.scores.shape) != (objects, tracklets):
        raise ValueError(
            f"scores: expected shape {(objects, tracklets)} (objects, live tracklets), got {tuple(frame.scores.shape)}"
        )
    for name, size in (("obj", objects), ("tck", tracklets)):
        for kind in ("embed", "logits", "boxes_cxcywh"):
            found = len(getattr(frame, f"{name}_{kind}"))
            if found != size:
                raise ValueError(f"{name}_{kind}: expected {size} rows, got {found}")
