"""Association of the slots of a tracker: its detections with the tracks it carries, learned or hand-crafted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from lamotr.functional.handcrafted import handcrafted_scores
from lamotr.functional.losses import DecoupledFrame
from lamotr.functional.matching import association_targets
from lamotr.modules import SGLA, SGLASettings
from mot_core.nn import inverse_sigmoid
from mot_core.slots import take
from mot_core.structures import FrameOutput, FrameTargets

AssociationKind: TypeAlias = Literal["sgla", "iou", "feature", "combination", "none"]
"""Source of the association scores (LA-MOTR, ICCV 2025, Table 4)."""

Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class ScoredFrame:
    """A frame with the association scores of its detections and tracks.

    Attributes:
        frame: Predictions of all slots, refined by SGLA.
        score_logits: Logits of the scores of ``M`` detections and ``K`` tracks, of shape ``(B, M, K)``.
        objects: Columns of the detections among the slots, of shape ``(M,)``.
        tracklets: Columns of the tracks, of shape ``(K,)``.
    """

    frame: FrameOutput
    score_logits: Tensor
    objects: Tensor
    tracklets: Tensor


def split_columns(frame: FrameOutput) -> tuple[Tensor, Tensor]:
    """Return the columns of the detections and those of the tracks, which are tracks in at least one clip.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> split_columns(FrameOutput(*slots, is_track=torch.tensor([[False, False, True]])))
    (tensor([0, 1]), tensor([2]))
    """
    tracked = frame.is_track.any(0)
    return (~tracked).nonzero().squeeze(1), tracked.nonzero().squeeze(1)


class SlotAssociation(nn.Module):
    """Scores of all pairs of detections and tracks in the slots of a frame.

    With SGLA, the embeddings of all slots are refined by it, and the heads of the tracker predict boxes and classes
    again from them. The hand-crafted kinds leave the predictions as they are. They compare embeddings after a linear
    layer, which stands for the appearance branch that the paper takes from FairMOT.

    Args:
        settings: Sizes and variant of SGLA, with the channels of the embeddings.
        kind: "sgla"; "iou", "feature" or "combination" for :func:`lamotr.handcrafted_scores`; or "none" for scores of
            0, so that tracks are continued by their own queries only, as in MOTR.

    Raises:
        ValueError: If ``kind`` is unknown.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> frame = FrameOutput(*slots, is_track=torch.tensor([[False, False, True]]), embeddings=torch.rand(1, 3, 16))
    >>> association = SlotAssociation(SGLASettings(embed_dim=16, num_heads=2, num_layers=1, ffn_dim=16))
    >>> association(frame).score_logits.shape
    torch.Size([1, 2, 1])
    """

    def __init__(self, settings: SGLASettings, kind: AssociationKind = "sgla") -> None:
        super().__init__()
        if kind not in get_args(AssociationKind):
            raise ValueError(f"association: expected {' or '.join(get_args(AssociationKind))}, got {kind!r}")
        self.kind = kind
        self.sgla = SGLA(settings) if kind == "sgla" else None
        compares = kind in ("feature", "combination")
        self.appearance = nn.Linear(settings.embed_dim, settings.embed_dim) if compares else None

    # Typed for the caller: nn.Module would return Any.
    __call__: Callable[..., ScoredFrame]

    def forward(self, frame: FrameOutput, box_head: Head | None = None, class_head: Head | None = None) -> ScoredFrame:
        """Score the pairs of a frame.

        Args:
            frame: Predictions with embeddings, before matching.
            box_head: Box head of the tracker, from embeddings to offsets in logits from ``frame.ref_boxes_cxcywh``.
                Without it or these boxes, the boxes of the frame stay as they are.
            class_head: Class head of the tracker. Without it, the logits of the frame stay as they are.

        Returns:
            Scores and the refined frame, in which the predictions before SGLA become the last of ``aux``.

        Raises:
            ValueError: If the frame has no embeddings.
        """
        if frame.embeddings is None:
            raise ValueError("frame.embeddings: expected the embeddings of all slots, got None")
        columns = split_columns(frame)
        embeds = [frame.embeddings[:, one] for one in columns]
        pads = [~frame.valid[:, one] for one in columns]
        if self.sgla is None:
            boxes = [frame.boxes_cxcywh[:, one].detach() for one in columns]
            return ScoredFrame(frame, self._handcrafted(boxes, embeds, pads), *columns)
        references, head = frame.ref_boxes_cxcywh, box_head
        if references is None or head is None:
            references, head = frame.boxes_cxcywh.detach(), None
        found = self.sgla(*embeds, *(references[:, one] for one in columns), *pads, box_head=head)
        back = torch.cat(columns).argsort()
        embeddings = torch.cat([found.obj_embed, found.tck_embed], 1)[:, back]
        refined = replace(
            frame,
            embeddings=embeddings,
            boxes_cxcywh=frame.boxes_cxcywh if head is None else found.boxes[-1][:, back],
            logits=frame.logits if class_head is None else class_head(embeddings),
            aux=(*frame.aux, replace(frame, aux=())),
        )
        return ScoredFrame(refined, found.score_logits, *columns)

    def scores(
        self,
        obj_embed: Tensor,
        tck_embed: Tensor,
        obj_boxes_cxcywh: Tensor,
        tck_boxes_cxcywh: Tensor,
        obj_pad: Tensor,
        tck_pad: Tensor,
    ) -> Tensor:
        """Score objects and tracklets of different frames, for trackers without track queries.

        Args:
            obj_embed: Embeddings of the detections, ``(B, M, C)``.
            tck_embed: Embeddings of the tracks in their last frame, ``(B, K, C)``.
            obj_boxes_cxcywh: Boxes of the detections, ``(B, M, 4)``.
            tck_boxes_cxcywh: Last or predicted boxes of the tracks, ``(B, K, 4)``.
            obj_pad: ``(B, M)`` bool, True for padding.
            tck_pad: ``(B, K)`` bool, True for padding.

        Returns:
            Logits ``(B, M, K)``.
        """
        boxes = (obj_boxes_cxcywh.detach(), tck_boxes_cxcywh.detach())
        if self.sgla is None:
            return self._handcrafted(list(boxes), [obj_embed, tck_embed], [obj_pad, tck_pad])
        return self.sgla(obj_embed, tck_embed, *boxes, obj_pad, tck_pad).score_logits

    def _handcrafted(self, boxes: list[Tensor], embeds: list[Tensor], pads: list[Tensor]) -> Tensor:
        unseen = pads[0][:, :, None] | pads[1][:, None, :]
        if self.kind == "none" or self.kind == "sgla":
            return embeds[0].new_full(unseen.shape, -20.0)
        objects, tracks = (one.masked_fill(pad[..., None], 0) for one, pad in zip(embeds, pads, strict=True))
        if self.appearance is not None:
            objects, tracks = self.appearance(objects), self.appearance(tracks)
        scores = handcrafted_scores(
            _precise(boxes[0]), _precise(boxes[1]), _precise(objects), _precise(tracks), self.kind
        )
        return inverse_sigmoid(scores.masked_fill(unseen, 0))


def decouple(
    scored: ScoredFrame, frame: FrameOutput, targets: FrameTargets, gt_index: Tensor, *, scores: bool = True
) -> DecoupledFrame:
    """Separate the predictions of a matched layer into detections and tracks.

    Args:
        scored: Scores of the frame, and its columns.
        frame: Predictions of the last layer or of an earlier one.
        targets: Ground truth.
        gt_index: Row of the ground truth of each slot in this layer, ``(B, N)``; -1 for none.
        scores: Whether the layer has the association scores.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> frame = FrameOutput(*slots, is_track=torch.tensor([[False, False, True]]))
    >>> index = torch.tensor([[0, -1, 0]])
    >>> targets = FrameTargets(slots[0][:, :1], index[:, :1], index[:, :1], index[:, :1] == 0)
    >>> scored = ScoredFrame(frame, torch.zeros(1, 2, 1), *split_columns(frame))
    >>> decouple(scored, frame, targets, index).tck_match
    tensor([[0]])
    """
    objects, tracklets = scored.objects, scored.tracklets
    return DecoupledFrame(
        frame.logits[:, objects],
        frame.boxes_cxcywh[:, objects],
        frame.logits[:, tracklets],
        frame.boxes_cxcywh[:, tracklets],
        scored.score_logits if scores else None,
        gt_index[:, objects],
        gt_index[:, tracklets],
        targets,
        ~frame.valid[:, objects],
        ~frame.valid[:, tracklets],
    )


def matched_objects(scored: ScoredFrame, frame: FrameOutput) -> Tensor:
    """Return the row of the detection that has the object of each track, ``(B, K)`` int64; -1 for none.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> frame = FrameOutput(*slots, is_track=torch.tensor([[False, False, True]]), gt_index=torch.tensor([[2, 0, 0]]))
    >>> matched_objects(ScoredFrame(frame, torch.zeros(1, 2, 1), *split_columns(frame)), frame)
    tensor([[1]])
    """
    target = association_targets(frame.gt_index[:, scored.objects], frame.gt_index[:, scored.tracklets])
    if not target.shape[1]:
        return torch.full_like(frame.gt_index[:, scored.tracklets], -1)
    return torch.where(target.any(1), target.to(torch.uint8).argmax(1), -1)


def last_seen(values: Tensor, present: Tensor) -> Tensor:
    """Select the last present value of each identity: ``values (B, I, T, ...)`` at ``present (B, I, T)``.

    >>> last_seen(torch.tensor([[[5.0, 6.0, 7.0]]]), torch.tensor([[[True, True, False]]]))
    tensor([[6.]])
    """
    steps = torch.arange(1, present.shape[-1] + 1, device=present.device)
    index = (present * steps).argmax(-1)
    return take(values.flatten(0, 1), index.flatten()[:, None])[:, 0].reshape(*index.shape, *values.shape[3:])


def _precise(values: Tensor) -> Tensor:
    """Convert half precision to float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
