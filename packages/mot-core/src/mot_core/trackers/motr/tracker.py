"""MOTR: tracks as detector queries that are passed from frame to frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from mot_core.checkpoints import ImportReport
from mot_core.nn import QueryInteraction
from mot_core.plugins import Context
from mot_core.structures import FrameOutput, TrackState
from mot_core.trackers.motr.collective_loss import CollectiveLoss
from mot_core.trackers.motr.query_tracker import QueryTracker
from mot_core.trackers.motr.released_weights import load_motr
from mot_core.trackers.motr.track_queries import choose_tracks, form_tracks
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings, check_range


class MOTR(QueryTracker):
    """MOTR, end-to-end tracking with transformers (Zeng et al. 2022, arXiv 2105.03247).

    A Deformable DETR detects new objects with its learned queries. The embedding of an object becomes, after the query
    interaction module, a query of the next frame that detects the same object again.

    Clips of a batch may have different numbers of tracks. Losses are ``class``, ``l1`` and ``giou`` of the last layer,
    and ``aux_...`` of all earlier layers, weighted 2, 5 and 2 by default: sums over all frames, divided by the number
    of objects plus the number of tracks whose object has left.

    Args:
        detector: Settings of the detector.
        optimizer: Settings of optimizer and schedule.
        drop: Probability that a track is dropped in training, so that its object must be detected again.
        insert: Probability that a track adds a false track in training, so that the tracker learns to end it.
        class_weight: Weight of the focal loss. The matching of objects keeps the costs of the paper.
        l1_weight: Weight of the L1 loss of the boxes.
        giou_weight: Weight of the GIoU loss of the boxes.
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
    >>> losses, clip = MOTR(small).losses(batch)
    >>> len(clip.frames), sorted(losses)
    (2, ['aux_class', 'aux_giou', 'aux_l1', 'class', 'giou', 'l1'])
    """

    configs = ("motr_mot17", "motr_dancetrack", "motr_synthetic")

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        drop: float = 0.1,
        insert: float = 0.3,
        class_weight: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        birth_threshold: float = 0.7,
        keep_threshold: float = 0.6,
        miss_tolerance: int = 5,
        report_threshold: float = 0.7,
        min_area: float = 100.0,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            detector, optimizer, birth_threshold=birth_threshold, keep_threshold=keep_threshold,
            miss_tolerance=miss_tolerance, report_threshold=report_threshold, min_area=min_area,
            checkpointing=checkpointing, track_attention=True, seed=seed,
        )  # fmt: skip
        for name, value in (("drop", drop), ("insert", insert)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a probability in [0, 1], got {value}")
        settings = detector or DetectorSettings()
        self.query_interaction = QueryInteraction(
            settings.embed_dim, settings.ffn_dim, settings.num_heads, settings.dropout
        )
        self.drop, self.insert = drop, insert
        check_range(0, math.inf, class_weight=class_weight, l1_weight=l1_weight, giou_weight=giou_weight)
        self.loss_weights = {"class": class_weight, "l1": l1_weight, "giou": giou_weight}

    # Training.

    def criterion(self) -> CollectiveLoss:
        """Return the collective average loss; a false track may match a new object."""
        return CollectiveLoss(all_objects=self.options["object_supervision"] == "all")

    def choose(
        self, frame: FrameOutput, ids: Tensor, generators: list[torch.Generator], ctx: Context
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the tracks of :func:`choose_tracks`; without random draws in evaluation."""
        drop, insert = (self.drop, self.insert) if ctx.training else (0.0, 0.0)
        return *choose_tracks(frame, ids, generators, drop, insert), ids

    def form(
        self,
        frame: FrameOutput,
        ids: Tensor,
        before: TrackState | None,
        keep: Tensor,
        added: Tensor | None = None,
        misses: Tensor | None = None,
    ) -> TrackState:
        """Gather the selected slots with the queries from which they were decoded."""
        return form_tracks(frame, ids, self.slot_queries(len(ids), before), keep, added, misses)

    def update(self, tracks: TrackState) -> TrackState:
        """Apply the query interaction module."""
        if tracks.queries is None or tracks.embeddings is None:
            return tracks
        return replace(tracks, queries=self.query_interaction(tracks.queries, tracks.embeddings, tracks.valid))

    def track_parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters of the query interaction and of the attention among tracks."""
        yield from self.query_interaction.parameters()
        yield from (one for name, one in self.detector.decoder.named_parameters() if "track_attn" in name)

    @property
    def reset_threshold(self) -> float:
        """The score from which a missed track counts as found again: that of births."""
        return self.birth_threshold

    # Checkpoints.

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released MOTR, or a Deformable DETR as initialization.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys. A Deformable DETR leaves the track modules newly initialized, and also the class heads
            if it has another number of classes.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        if any(name.startswith("track_embed.") for name in state):
            return load_motr(self.detector, self.query_interaction, state)
        return self.import_detector(state)
