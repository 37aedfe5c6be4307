"""MeMOTR: track queries with a long-term memory, on a detector whose queries have anchors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from mot_core.checkpoints import ImportReport
from mot_core.nn import TemporalInteraction, inverse_sigmoid
from mot_core.plugins import Context
from mot_core.structures import FrameOutput, TrackState
from mot_core.trackers.memotr.released_weights import load_memotr
from mot_core.trackers.memotr.track_memory import form_memories, keep_confident
from mot_core.trackers.motr.collective_loss import CollectiveLoss
from mot_core.trackers.motr.query_tracker import QueryTracker
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings


class MeMOTR(QueryTracker):
    """MeMOTR, long-term memory-augmented transformer for tracking (Gao and Wang, ICCV 2023, arXiv 2307.15700).

    A DAB-Deformable-DETR detects new objects with its learned queries and follows tracks with theirs. The temporal
    interaction module forms the query of a track from its outputs in two frames and a slowly changing memory. A track
    with a low score keeps query, anchor and memory.

    Clips of a batch may have different numbers of tracks. Losses are those of :class:`mot_core.trackers.MOTR`; layers
    below ``merge_layer`` detect all objects.

    Args:
        detector: Settings of the detector; by default those of the paper, with feed-forwards of 2048 channels.
        optimizer: Settings of optimizer and schedule.
        use_dab: Whether queries have anchor boxes. Otherwise the detector is a plain Deformable DETR, as in the paper's
            comparison with MOTR.
        merge_layer: First decoder layer with tracks, above 0 only with ``use_dab``. None means 1 with ``use_dab`` and 0
            without.
        update_threshold: Score above which a track updates its query, anchor and memory. In training, detections
            without object above this score become false tracks.
        memory_rate: Weight of a new output in the memory. Lower values remember longer.
        birth_threshold: Score from which a detection starts a track. Lower values find more objects, but also more
            false positives.
        keep_threshold: Score below which a track counts as missed.
        miss_tolerance: Number of consecutive missed frames after which a track ends. Higher values bridge longer
            occlusions.
        report_threshold: Score above which a track is reported.
        min_area: Box area in pixels of the original frame above which a track is reported.
        checkpointing: Recompute the detector in the backward pass, frame by frame, to save memory.
        seed: Seed for all random draws during training.

    >>> small = DetectorSettings("small", num_queries=10, embed_dim=64, ffn_dim=128, num_levels=3,
    ...     num_encoder_layers=1, num_decoder_layers=2)
    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    >>> batch = collate([ClipDataset(SyntheticVideo(num_videos=1, num_frames=4), ClipSampling(2))[0]])
    >>> losses, clip = MeMOTR(small).losses(batch)
    >>> len(clip.frames), sorted(losses)
    (2, ['aux_class', 'aux_giou', 'aux_l1', 'class', 'giou', 'l1'])
    """

    configs = ("memotr_dancetrack", "memotr_mot17", "memotr_sportsmot", "memotr_synthetic")
    tracking_parameters = (*QueryTracker.tracking_parameters, "update_threshold")

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        use_dab: bool = True,
        merge_layer: int | None = None,
        update_threshold: float = 0.5,
        memory_rate: float = 0.01,
        birth_threshold: float = 0.5,
        keep_threshold: float = 0.5,
        miss_tolerance: int = 30,
        report_threshold: float = 0.5,
        min_area: float = 100.0,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        if not 0 <= memory_rate <= 1:
            raise ValueError(f"memory_rate: expected a weight in [0, 1], got {memory_rate}")
        settings = detector or DetectorSettings(ffn_dim=2048)
        if merge_layer is None:
            merge_layer = min(1, settings.num_decoder_layers - 1) if use_dab else 0
        super().__init__(
            settings, optimizer, birth_threshold=birth_threshold, keep_threshold=keep_threshold,
            miss_tolerance=miss_tolerance, report_threshold=report_threshold, min_area=min_area,
            checkpointing=checkpointing, dab=use_dab, merge_layer=merge_layer, seed=seed,
        )  # fmt: skip
        self.temporal_interaction = TemporalInteraction(
            settings.embed_dim, settings.ffn_dim, settings.num_heads, settings.dropout, use_dab, memory_rate
        )
        self.update_threshold = update_threshold

    # Training.

    def criterion(self) -> CollectiveLoss:
        """Return the collective average loss; a track without identity is background."""
        return CollectiveLoss(
            all_objects=self.options["object_supervision"] == "all",
            rematch_tracks=False,
            merge_layer=self.detector.decoder.merge_layer,
        )

    def choose(
        self, frame: FrameOutput, ids: Tensor, generators: list[torch.Generator], ctx: Context
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep slots with an identity or a high score; see :func:`keep_confident`."""
        return keep_confident(frame, ids, self.update_threshold)

    def form(
        self,
        frame: FrameOutput,
        ids: Tensor,
        before: TrackState | None,
        keep: Tensor,
        added: Tensor | None = None,
        misses: Tensor | None = None,
    ) -> TrackState:
        """Gather the selected slots with their queries, anchors and memories; see :func:`form_memories`."""
        return form_memories(frame, ids, self.detector.query_embed.weight, before, keep, added, misses)

    def update(self, tracks: TrackState) -> TrackState:
        """Update queries, anchors and memories of tracks with a score above ``update_threshold``."""
        boxes, scores, queries, references = tracks.boxes_cxcywh, tracks.scores, tracks.queries, tracks.ref_logits
        outputs, memory = tracks.embeddings, tracks.memory
        if boxes is None or scores is None or queries is None or references is None:
            return tracks
        if outputs is None or memory is None or not tracks.ids.shape[1]:
            return tracks
        confident = (scores > self.update_threshold)[..., None]
        references = inverse_sigmoid(boxes[..., : references.shape[-1]]).where(confident, references)
        # The memory is a constant of the frame, so that gradients reach earlier frames through the outputs only.
        long, previous = memory[..., : outputs.shape[-1]].detach(), memory[..., outputs.shape[-1] :]
        updated, long = self.temporal_interaction(queries, references.sigmoid(), outputs, previous, long, tracks.valid)
        return replace(
            tracks,
            queries=updated.where(confident, queries),
            ref_logits=references,
            memory=torch.cat([long, outputs], -1).where(confident, memory),
        )

    def track_parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters of the temporal interaction module."""
        yield from self.temporal_interaction.parameters()

    # Tracking.

    @property
    def reset_threshold(self) -> float:
        """The score from which a missed track counts as found again: the one to keep it."""
        return self.keep_threshold

    # Checkpoints.

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released MeMOTR, or a Deformable DETR of the same kind (DAB or plain) as initialization.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys. A Deformable DETR leaves the temporal interaction module newly initialized, and also the
            class heads if it has another number of classes.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        if any(name.startswith("query_updater.") for name in state):
            return load_memotr(self.detector, self.temporal_interaction, state)
        return self.import_detector(state)
