"""LA-MOTR: the DAB detector of MeMOTR with learnable association."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from lamotr.association import AssociationKind, ScoredFrame, SlotAssociation, decouple
from lamotr.carrying import advance_tracks, carry_tracks, with_queries
from lamotr.functional.losses import DecoupledFrame, LossSettings, decoupled_loss
from lamotr.functional.update import Exclusion
from lamotr.modules import SGLASettings
from lamotr.tracking import AssociationRules, Matching, Tracklets
from mot_core.checkpoints import ImportReport
from mot_core.extras import needs
from mot_core.nn import QueryInteraction, TemporalInteraction
from mot_core.plugins import Context
from mot_core.processes import mean_over_processes
from mot_core.slots import slot_iou
from mot_core.structures import ClipBatch, ClipOutput, FrameOutput, FrameTargets, TrackState

with needs("lightning", "train", "LA-MOTR", package="lamotr"):
    from mot_core.trackers import DetectorSettings, DETRTracker, FrameTracks, OptimizerSettings
    from mot_core.trackers.motr.collective_loss import CollectiveLoss
    from mot_core.trackers.motr.track_queries import choose_tracks, next_ids
    from mot_core.trackers.outputs import query_slots

Update: TypeAlias = Literal["weighted", "tan", "tim"]
"""Update of the queries of tracks (LA-MOTR, ICCV 2025, Table 6)."""


class LAMOTR(DETRTracker):
    """LA-MOTR, end-to-end tracking by learnable association (ICCV 2025).

    A DAB-Deformable-DETR detects all objects with its learned queries and follows tracks with theirs. SGLA refines the
    embeddings of both and scores all pairs of objects and tracks. The scores decide which object continues which track,
    and which object is new. The query of a track is a mean of two embeddings without parameters.

    Losses are ``detection``, ``tracking`` and ``association`` of :func:`lamotr.decoupled_loss`, summed over the frames
    of a clip, and ``aux_detection`` and ``aux_tracking`` of the decoder layers. At the paper's size, 50.29 M parameters
    are trained.

    Args:
        detector: Settings of the detector; by default those of the paper, with feed-forwards of 2048 channels.
        optimizer: Settings of optimizer and schedule.
        sgla: Sizes and variant of SGLA; by default that of the paper, with the channels of the detector.
        loss: Weights of the losses.
        association: "sgla"; "iou", "feature" or "combination" for a hand-crafted comparison; or "none", which detects
            new objects only and continues tracks by their own queries, as MOTR does (Table 4).
        update: "weighted" as in the paper, or the learned update "tan" of MOTR or "tim" of MeMOTR (Table 6).
        update_weight: Weight of the track in the mean of its embedding and that of its object, from 0 to 1. Lower
            values adapt faster to the current appearance.
        exclude: Rule that excludes targets from the next frame of a training clip; see :func:`lamotr.carried_ids`.
        demote: Whether a kept target with a low IoU loses its identity in training.
        keep_absent: Whether a track whose object has left keeps its identity until the end of the training clip.
        insert: Probability that a track adds the detection that overlaps it most as a false track in training, so that
            the tracker learns to end it. The paper describes no false tracks.
        merge_layer: First decoder layer with tracks.
        detection_threshold: Score above which a detection continues or starts a track. Lower values find more objects,
            but also more false positives.
        association_threshold: Association score above which an object belongs to a track. Lower values bridge more
            occlusions, but risk identity switches.
        track_threshold: Score from which a track is reported without an object.
        matching: "hungarian" for the pairs with the largest total score, "greedy" for pairs in descending order.
        miss_tolerance: Number of consecutive missed frames after which a track ends. Higher values bridge longer
            occlusions.
        min_area: Box area in pixels of the original frame above which a track is reported.
        checkpointing: Recompute the detector in the backward pass, frame by frame, to save memory.
        seed: Seed for all random draws during training.

    Raises:
        ValueError: If an argument is out of range.

    >>> small = DetectorSettings("small", num_queries=10, embed_dim=64, ffn_dim=128, num_levels=3,
    ...     num_encoder_layers=1, num_decoder_layers=2)
    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    >>> batch = collate([ClipDataset(SyntheticVideo(num_videos=1, num_frames=4), ClipSampling(2))[0]])
    >>> losses, clip = LAMOTR(small).losses(batch)
    >>> len(clip.frames), sorted(losses)
    (2, ['association', 'aux_detection', 'aux_tracking', 'detection', 'tracking'])
    """

    capabilities = frozenset(
        {"features", "decoder_layer", "embeddings", "live_boxes", "ids", "track_queries", "box_head"}
    )
    # The association is newly initialized where that of a checkpoint has another kind or size.
    fresh_keys = DETRTracker.fresh_keys + r"|association\..*|updater\..*"
    configs = ("lamotr_dancetrack", "lamotr_mot17", "lamotr_sportsmot", "lamotr_synthetic")
    tracking_parameters = (
        "detection_threshold",
        "association_threshold",
        "track_threshold",
        "matching",
        "update_weight",
        "miss_tolerance",
        "min_area",
    )

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        sgla: SGLASettings | None = None,
        loss: LossSettings | None = None,
        association: AssociationKind = "sgla",
        update: Update = "weighted",
        update_weight: float = 1.0,
        exclude: Exclusion = "both",
        demote: bool = True,
        keep_absent: bool = False,
        insert: float = 0.0,
        merge_layer: int = 0,
        detection_threshold: float = 0.5,
        association_threshold: float = 0.5,
        track_threshold: float = 0.5,
        matching: Matching = "hungarian",
        miss_tolerance: int = 30,
        min_area: float = 100.0,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        settings = detector or DetectorSettings(ffn_dim=2048)
        super().__init__(settings, optimizer, checkpointing=checkpointing, dab=True, merge_layer=merge_layer, seed=seed)
        channels = settings.embed_dim
        sgla = sgla or SGLASettings(channels, settings.num_heads, ffn_dim=4 * channels)
        if sgla.embed_dim != channels:
            raise ValueError(f"sgla.embed_dim: expected {channels}, the channels of the detector, got {sgla.embed_dim}")
        if update not in get_args(Update):
            raise ValueError(f"update: expected {' or '.join(get_args(Update))}, got {update!r}")
        self.association = SlotAssociation(sgla, association)
        self.updater: QueryInteraction | TemporalInteraction | None = None
        sizes = (channels, settings.ffn_dim, settings.num_heads, settings.dropout)
        if update != "weighted":
            self.updater = QueryInteraction(*sizes) if update == "tan" else TemporalInteraction(*sizes)
        self.rules = AssociationRules(
            detection_threshold, association_threshold, track_threshold, matching, update_weight, miss_tolerance,
            min_area,
        )  # fmt: skip
        self.loss = loss or LossSettings()
        self.exclude: Exclusion = exclude
        if not 0 <= insert <= 1:
            raise ValueError(f"insert: expected a probability in [0, 1], got {insert}")
        self.demote, self.keep_absent, self.insert = demote, keep_absent, insert
        self._state: Tracklets | None = None
        self._tracks: TrackState | None = None

    def setup(self, stage: str | None = None) -> None:
        """Set up the plug-ins once; unless there is no association, detections are supervised on all objects."""
        super().setup(stage)
        kind = "untracked" if self.association.kind == "none" else "all"
        self.options = {**self.options, "object_supervision": kind}

    # Training.

    def clip_losses(self, batch: ClipBatch, ctx: Context) -> tuple[dict[str, Tensor], ClipOutput]:
        """Compute the decoupled loss of a batch of clips, and return it with all predictions."""
        frames, layers = [], []
        for frame, parts, _ in self.follow(batch, ctx):
            frames.append(frame)
            layers.append(parts)
        count = mean_over_processes(torch.stack([targets.valid.sum() for targets in batch.targets or ()]).sum())
        # Distributed training needs the gradient of every parameter, also for clips without tracks.
        modules = [self.association, *([self.updater] if self.updater is not None else [])]
        zero = sum(0 * one.sum() for module in modules for one in module.parameters() if one.requires_grad)
        names = ("detection", "tracking", "association", "aux_detection", "aux_tracking")
        losses = {name: count.new_zeros(()) + zero for name in names}
        for number, layer in enumerate(zip(*layers, strict=True), 1):
            prefix = "" if number == len(layers[0]) else "aux_"
            for name, value in decoupled_loss(layer, self.loss, count).items():
                kind = prefix + name.partition("_")[0]
                losses[kind] = losses[kind] + value
        return losses, ClipOutput(frames, batch.targets)

    def follow(self, batch: ClipBatch, ctx: Context) -> Iterator[tuple[FrameOutput, list[DecoupledFrame], TrackState]]:
        """Track a batch of clips with ground truth, frame by frame.

        Yields:
            The matched frame, its detections and tracks in every layer, and the tracks of the next frame.
        """
        tracks = None
        for index, targets in enumerate(batch.targets or ()):
            here = ctx.at(index, targets)
            scored, frame = self._predict(batch, index, tracks, here)
            frame, parts = self._match(scored, frame, targets)
            tracks = carry_tracks(
                scored, frame, targets, tracks, self.rules, self.exclude, demote=self.demote,
                keep_absent=self.keep_absent, added=self._false_tracks(frame, targets, batch, here),
            )  # fmt: skip
            tracks = self.plugins.on_tracks_update(frame, self._renew(tracks), here)
            yield frame, parts, tracks

    def _false_tracks(self, frame: FrameOutput, targets: FrameTargets, batch: ClipBatch, ctx: Context) -> Tensor | None:
        """Draw detections that start no track as tracks of the next frame; None without ``insert``.

        In tracking, a false track is mostly a second one of the same object. So a detection of a tracked object counts
        as well, which usually overlaps its track most.
        """
        if not (self.insert and ctx.training):
            return None
        random = self.clip_generators(batch, ctx.step, ctx.frame)
        ids = next_ids(frame, targets)
        frame = replace(frame, gt_index=frame.gt_index.where(ids >= 0, -1))
        return choose_tracks(frame, ids, random, drop=0.0, insert=self.insert)[1]

    def _match(
        self, scored: ScoredFrame, frame: FrameOutput, targets: FrameTargets
    ) -> tuple[FrameOutput, list[DecoupledFrame]]:
        """Match a frame, and return it with detections and tracks of every layer."""
        criterion = CollectiveLoss(
            all_objects=self.options["object_supervision"] == "all",
            rematch_tracks=False,
            merge_layer=self.detector.decoder.merge_layer,
        )
        matches = criterion.match(frame, targets)
        frame = replace(frame, gt_index=matches[-1])
        frame = replace(frame, iou=slot_iou(frame, targets).detach())
        learned = self.association.kind not in ("none", "iou")
        return frame, [
            decouple(scored, layer, targets, match, scores=learned and layer is frame)
            for layer, match in zip([*frame.aux, frame], matches, strict=True)
        ]

    def _predict(
        self, batch: ClipBatch, index: int, tracks: TrackState | None, ctx: Context
    ) -> tuple[ScoredFrame, FrameOutput]:
        """Decode and associate the objects and tracks of a frame, and pass them through plug-ins."""
        tracks = tracks if tracks is not None and tracks.ids.shape[1] else None
        output, pyramid = self.detect(batch.images[:, index], batch.padding, ctx, tracks)
        frame = query_slots(output, pyramid, batch, index, tracks, self.detector.decoder.merge_layer)
        scored = self.association(frame, self.detector.decoder.box_heads[-1], self.detector.class_heads[-1])
        return scored, self.plugins.on_embeddings(scored.frame, ctx)

    def _renew(self, tracks: TrackState) -> TrackState:
        """Apply the learned update, if any, to the queries of the tracks that were seen."""
        queries, outputs, memory, references = tracks.queries, tracks.embeddings, tracks.memory, tracks.ref_logits
        if self.updater is None or queries is None or not tracks.ids.shape[1]:
            return tracks
        if outputs is None or memory is None or references is None or tracks.misses is None:
            return tracks
        seen = (tracks.misses == 0)[..., None]
        if isinstance(self.updater, QueryInteraction):
            # Anchors carry the position, so that only the content is updated.
            both = torch.cat([torch.zeros_like(queries), queries], -1)
            renewed = self.updater(both, outputs, tracks.valid)[..., queries.shape[-1] :]
            return replace(tracks, queries=renewed.where(seen, queries))
        long, previous = memory[..., : outputs.shape[-1]].detach(), memory[..., outputs.shape[-1] :]
        renewed, long = self.updater(queries, references.sigmoid(), outputs, previous, long, tracks.valid)
        memory = torch.cat([long, outputs], -1).where(seen, memory)
        return replace(tracks, queries=renewed.where(seen, queries), memory=memory)

    # Tracking.

    def track_frame(self, batch: ClipBatch, ctx: Context) -> FrameTracks:
        """Track the next frame of a stream."""
        scored, frame = self._predict(batch, 0, self._tracks, ctx)
        if self._state is None:
            empty = Tracklets.empty(self.detector.embed_dim, frame.boxes_cxcywh.device)
            self._state = replace(empty, next_id=0)
        size = (int(batch.original_size[0, 0]), int(batch.original_size[0, 1]))
        state, reported, tracks = advance_tracks(scored, frame, self._state, self._tracks, self.rules, size)
        self._tracks = self.plugins.on_tracks_update(frame, self._renew(tracks), ctx)
        self._state = with_queries(state, self._tracks)
        return FrameTracks(reported.ids, reported.boxes_cxcywh, reported.scores, reported.classes)

    def reset(self) -> None:
        """Drop all tracks before a new stream."""
        self._state = self._tracks = None

    # Checkpoints.

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released DAB-Deformable-DETR as initialization.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys. The association stays newly initialized.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        return self.import_detector(state)
