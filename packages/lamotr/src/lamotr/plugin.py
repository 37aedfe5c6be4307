"""Learnable association as a plug-in for any trainable tracker with embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lamotr.association import AssociationKind, ScoredFrame, SlotAssociation, decouple, last_seen
from lamotr.carrying import advance_tracks, carry_tracks
from lamotr.functional.losses import LossSettings, Pairs, association_loss, frame_association_loss
from lamotr.functional.update import Exclusion
from lamotr.modules import SGLASettings
from lamotr.tracking import AssociationRules, Tracklets
from mot_core.plugins import Context, Plugin
from mot_core.processes import mean_over_processes
from mot_core.slots import slot_ids, trajectories
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec, TrackState

OPTIONS = {"object_supervision": "all", "query_update": "plugin", "keep_rule": "plugin", "birth": "plugin"}


class LAMOTRPlugin(Plugin):
    """Learnable association (SGLA) and its loss for a tracker that is trained with identities.

    A tracker with track queries (MOTR, MeMOTR) becomes an LA-MOTR: its detections are supervised on all objects, SGLA
    refines all embeddings and scores all pairs of detections and tracks, the queries of tracks are updated without
    parameters, and matches, births and lost tracks follow the scores. The thresholds of the tracker lose their effect,
    except for those of reported tracks. Tracks of MOTR get a query position of 0.

    For other trackers (MOTIP, ByteTrack with a trained detector), SGLA learns to associate the detections of a frame
    with the last detection of each identity in the earlier frames of the clip, and its scores replace the association
    of the tracker. Their embeddings are not refined.

    Args:
        weight: Weight of the association loss. 0 switches the association off: the tracker stays bit-identical.
        warmup_steps: Steps over which the weight rises linearly from 0.
        association: "sgla", or a hand-crafted comparison; see :class:`lamotr.SlotAssociation`.
        sgla: Fields of :class:`lamotr.SGLASettings` other than ``embed_dim``.
        rules: Fields of :class:`lamotr.AssociationRules`. They apply to trackers with track queries.
        pairs: Pairs of the loss; see :class:`lamotr.LossSettings`.
        positive_weight: Weight of positive pairs in the loss.
        exclude: Rule that excludes targets from the next frame of a training clip; see :func:`lamotr.carried_ids`.
        demote: Whether a kept target with a low IoU loses its identity.
        keep_absent: Whether a track whose object has left keeps its identity until the end of the training clip.
        min_score: Score from which a slot without an object enters the loss of a tracker without track queries.

    >>> LAMOTRPlugin(sgla={"num_layers": 2}).weight
    10.0
    """

    name = "lamotr"
    requires = ("embeddings", "ids")

    def __init__(
        self,
        weight: float = 10.0,
        warmup_steps: int = 0,
        association: AssociationKind = "sgla",
        sgla: dict[str, Any] | None = None,
        rules: dict[str, Any] | None = None,
        pairs: Pairs = "all",
        positive_weight: float = 1.0,
        exclude: Exclusion = "both",
        demote: bool = True,
        keep_absent: bool = False,
        min_score: float = 0.1,
    ) -> None:
        super().__init__(weight, warmup_steps)
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score: expected a number in [0, 1], got {min_score}")
        self.kind: AssociationKind = association
        self.sgla_settings = dict(sgla or {})
        self.rules = AssociationRules(**(rules or {}))
        self.loss = LossSettings(pairs=pairs, positive_weight=positive_weight)
        self.exclude: Exclusion = exclude
        self.demote, self.keep_absent, self.min_score = demote, keep_absent, min_score

    def setup(self, spec: TrackerSpec) -> Mapping[str, str]:
        """Build the association for the embeddings of the tracker, and request its options."""
        assert spec.embed_dim is not None, "required"
        if spec.name == "LAMOTR":
            raise ValueError(
                "plug-in 'lamotr': expected another tracker, got LAMOTR, which has this association already; set its "
                "arguments sgla and loss"
            )
        sizes = {"embed_dim": spec.embed_dim, "ffn_dim": 4 * spec.embed_dim}
        self.association = SlotAssociation(SGLASettings(**(sizes | self.sgla_settings)), self.kind)
        self.carries = "track_queries" in spec.capabilities
        return OPTIONS if self.carries and self.weight else {}

    # Trackers with track queries.

    def on_embeddings(self, frame: FrameOutput, ctx: Context) -> FrameOutput:
        """Score all pairs of detections and tracks, and refine the predictions."""
        if not (self.weight and self.carries):
            return frame
        scored = self.association(frame, ctx.spec.box_head, ctx.spec.class_head)
        if ctx.targets is None:
            ctx.store["scored"] = {}  # a stream may be long
        ctx.store.setdefault("scored", {})[ctx.frame] = scored
        return scored.frame

    def on_tracks_update(self, frame: FrameOutput | None, tracks: TrackState, ctx: Context) -> TrackState:
        """Form the tracks of the next frame with their queries."""
        if not (self.weight and self.carries) or frame is None:
            return tracks
        scored, before = ctx.store["scored"][ctx.frame], ctx.store.get("tracks")
        if ctx.targets is not None:
            following = carry_tracks(
                scored, frame, ctx.targets, before, self.rules, self.exclude, demote=self.demote,
                keep_absent=self.keep_absent,
            )  # fmt: skip
        else:
            following = self._track(scored, frame, before, ctx)
        ctx.store["tracks"] = following
        return _in_layout(following, tracks)

    def _track(self, scored: ScoredFrame, frame: FrameOutput, before: TrackState | None, ctx: Context) -> TrackState:
        assert frame.embeddings is not None, "required"
        if "tracklets" not in ctx.store:
            empty = Tracklets.empty(frame.embeddings.shape[-1], frame.embeddings.device)
            ctx.store["tracklets"] = replace(empty, next_id=0)
        # The tracker applies its own limit of the area, in pixels of the original frame.
        rules = replace(self.rules, min_area=0.0)
        size = (int(frame.image_size[0, 0]), int(frame.image_size[0, 1]))
        state = ctx.store["tracklets"]
        ctx.store["tracklets"], _, following = advance_tracks(scored, frame, state, before, rules, size)
        return following

    # Trackers without track queries.

    def on_associate(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> Tensor | None:
        """Return the association scores of tracks and detections, for a tracker without track queries.

        Raises:
            ValueError: If the tracks have no embeddings or boxes.
        """
        if not self.weight or self.carries:
            return None
        if tracks.embeddings is None or tracks.boxes_cxcywh is None or frame.embeddings is None:
            raise ValueError(
                "tracks: expected embeddings and boxes_cxcywh, got None; the tracker must keep the last ones of a track"
            )
        logits = self.association.scores(
            frame.embeddings, tracks.embeddings, frame.boxes_cxcywh, tracks.boxes_cxcywh, ~frame.valid, ~tracks.valid
        )
        unseen = ~(frame.valid[:, :, None] & tracks.valid[:, None, :])
        return logits.sigmoid().masked_fill(unseen, 0).transpose(1, 2)

    def _pair_loss(self, clip: ClipOutput) -> Tensor:
        """Compute the loss of every frame with the last detection of each identity in the frames before it."""
        found = trajectories(clip)
        assert found.embeddings is not None, "required"
        assert clip.targets is not None, "checked by trajectories"
        losses, counts = [], []
        for time in range(1, len(clip.frames)):
            frame, targets, earlier = clip.frames[time], clip.targets[time], found.present[..., :time]
            assert frame.embeddings is not None, "required"
            unknown = ~earlier.any(-1)
            logits = self.association.scores(
                frame.embeddings,
                last_seen(found.embeddings[:, :, :time], earlier),
                frame.boxes_cxcywh,
                last_seen(found.boxes_cxcywh[:, :, :time], earlier),
                ~frame.valid,
                unknown,
            )
            ids = slot_ids(frame, targets, unique=True)
            target = (ids[:, :, None] == found.ids[:, None, :]) & (found.ids >= 0)[:, None, :]
            strong = (frame.gt_index >= 0) | (frame.logits.detach().sigmoid().amax(-1) >= self.min_score)
            valid = (frame.valid & strong)[:, :, None] & ~unknown[:, None, :]
            one = torch.ones((), device=logits.device)
            losses.append(association_loss(logits, target, valid, self.loss.positive_weight, one))
            counts.append(valid.sum())
        if not losses:
            return torch.zeros((), device=found.ids.device)
        return torch.stack(losses).sum() / mean_over_processes(torch.stack(counts).sum())

    # Loss.

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Compute the association loss of a clip: the sum over frames, or for detections of a clip the mean."""
        # Connected to the graph without tracks or parameters, as distributed training requires.
        zero = sum((0 * one.sum() for one in self.parameters()), _zero(clip))
        if not self.weight:
            return {"loss": zero}
        if not self.carries:
            return {"loss": self._pair_loss(clip) + zero}
        if clip.targets is None:
            raise ValueError("clip.targets: expected the ground truth of every frame, got None")
        losses = [zero]
        for time, (frame, targets) in enumerate(zip(clip.frames, clip.targets, strict=True)):
            if time:
                parts = decouple(ctx.store["scored"][time], frame, targets, frame.gt_index)
                losses.append(frame_association_loss(parts, self.loss.pairs, self.loss.positive_weight))
        return {"loss": torch.stack(losses).sum()}


def _zero(clip: ClipOutput) -> Tensor:
    """Return 0 with the graph of the embeddings."""
    frame = clip.frames[-1]
    assert frame.embeddings is not None, "required"
    return 0 * frame.embeddings.where(frame.valid[..., None], 0).sum()


def _in_layout(tracks: TrackState, like: TrackState) -> TrackState:
    """Return tracks with queries and references of the tracker's kind: MOTR's have a position, and centers only."""
    queries, references = tracks.queries, tracks.ref_logits
    assert queries is not None, "formed by carry_tracks"
    assert references is not None, "formed by carry_tracks"
    if like.queries is not None and like.queries.shape[-1] == 2 * queries.shape[-1]:
        queries = torch.cat([torch.zeros_like(queries), queries], -1)
    if like.ref_logits is not None:
        references = references[..., : like.ref_logits.shape[-1]]
    return replace(tracks, queries=queries, ref_logits=references, memory=None)
