"""TrackFormer: output embeddings of a frame as track queries of the next one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from mot_core.checkpoints import ImportReport
from mot_core.nn import MultiFrameDETR
from mot_core.plugins import Context, Plugin
from mot_core.plugins.negotiation import groups
from mot_core.structures import ClipBatch, FrameOutput, TrackState
from mot_core.trackers.motr.collective_loss import CollectiveLoss
from mot_core.trackers.motr.query_tracker import QueryTracker
from mot_core.trackers.motr.track_queries import form_tracks
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings
from mot_core.trackers.trackformer.reidentification import reidentify, unique_slots
from mot_core.trackers.trackformer.released_weights import load_trackformer
from mot_core.trackers.trackformer.track_augmentation import augment_tracks


class TrackFormer(QueryTracker):
    """TrackFormer, tracking by attention (Meinhardt et al., CVPR 2022, arXiv:2101.02702).

    A Deformable DETR detects new objects with its learned queries. The output embedding of an object is a query of the
    next frame, which starts at the center of the last box and has no position encoding. The decoder attends to the
    features of the current and the previous frame.

    Training learns from the last frame of a clip; earlier frames provide its track queries, and run without gradient
    unless ``backprop_previous``. Clips of two frames are the recipe of the paper; with three frames, tracks of the
    second frame come from the first. Losses are ``class``, ``l1`` and ``giou`` of the last layer, and ``aux_...`` of
    all earlier layers, weighted 2, 5 and 2, and divided by the number of objects.

    Args:
        detector: Settings of the detector; by default those of the released models, with 500 queries and 288 channels.
        optimizer: Settings of optimizer and schedule.
        multi_frame: Whether the decoder attends to the previous frame. Without, the detector is a plain Deformable DETR
            that can start from weights trained on COCO.
        backprop_previous: Whether earlier frames of a clip have a gradient. Needs the memory of all frames.
        false_negatives: Whether training drops a random number of tracks, whose objects must be detected again.
        false_positive: Probability that a track adds a false track in training, so that the tracker learns to end it.
        birth_threshold: Score above which a detection starts a track. Lower values find more objects, but also more
            false positives.
        keep_threshold: Score up to which a track counts as missed.
        miss_tolerance: Number of consecutive missed frames after which a track ends. With 1, a missed track ends at
            once; with more, it is invisible until it is found again.
        reid_threshold: Score above which the query of a missed track finds it again.
        reid_distance: Euclidean distance of embeddings up to which a new detection continues a missed track. 0 disables
            it.
        nms_threshold: IoU above which a track is a duplicate of one with a higher score and ends, and a detection is
            not a new object.
        report_threshold: Score above which a track is reported.
        min_area: Box area in pixels of the original frame above which a track is reported.
        checkpointing: Recompute the detector in the backward pass, frame by frame, to save memory.
        seed: Seed for all random draws during training.

    >>> small = DetectorSettings("small", num_queries=10, embed_dim=64, ffn_dim=128, num_levels=3,
    ...     num_encoder_layers=1, num_decoder_layers=2)
    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    >>> batch = collate([ClipDataset(SyntheticVideo(num_videos=1, num_frames=4), ClipSampling(2))[0]])
    >>> losses, clip = TrackFormer(small).losses(batch)
    >>> [frame.has_grad for frame in clip.frames], sorted(losses)
    ([False, True], ['aux_class', 'aux_giou', 'aux_l1', 'class', 'giou', 'l1'])
    """

    configs = ("trackformer_mot17", "trackformer_synthetic")
    tracking_parameters = (*QueryTracker.tracking_parameters, "reid_threshold", "reid_distance", "nms_threshold")

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        multi_frame: bool = True,
        backprop_previous: bool = False,
        false_negatives: bool = True,
        false_positive: float = 0.1,
        birth_threshold: float = 0.4,
        keep_threshold: float = 0.4,
        miss_tolerance: int = 1,
        reid_threshold: float = 0.4,
        reid_distance: float = 0.0,
        nms_threshold: float = 0.9,
        report_threshold: float = 0.4,
        min_area: float = 0.0,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        for name, value in (("false_positive", false_positive), ("nms_threshold", nms_threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
        if not reid_distance >= 0:
            raise ValueError(f"reid_distance: expected a distance of at least 0, got {reid_distance}")
        super().__init__(
            detector or DetectorSettings(num_queries=500, embed_dim=288), optimizer, birth_threshold=birth_threshold,
            keep_threshold=keep_threshold, miss_tolerance=miss_tolerance, report_threshold=report_threshold,
            min_area=min_area, checkpointing=checkpointing, multi_frame=multi_frame, seed=seed,
        )  # fmt: skip
        self.backprop_previous = backprop_previous
        self.false_negatives, self.false_positive = false_negatives, false_positive
        self.reid_threshold, self.reid_distance = reid_threshold, reid_distance
        self.nms_threshold = nms_threshold

    def setup(self, stage: str | None = None) -> None:
        """Set up the plug-ins once, and reject those that could not learn.

        Raises:
            ValueError: If a plug-in acts on track queries, which have no gradient without ``backprop_previous``.
        """
        super().setup(stage)
        for name, plugin in self.plugins.items():
            assert isinstance(plugin, Plugin), "attached"
            if self.training and not self.backprop_previous and any("track_queries" in one for one in groups(plugin)):
                raise ValueError(
                    f"backprop_previous: expected true with the plug-in {name!r}, which learns from the queries "
                    "of tracks, got false; set model.backprop_previous=true"
                )

    # Training.

    def criterion(self) -> CollectiveLoss:
        """Return the matching and losses of a frame; tracks without identity are background."""
        return CollectiveLoss(
            all_objects=self.options["object_supervision"] == "all", rematch_tracks=False, count_vanished=False
        )

    def follow(self, batch: ClipBatch, ctx: Context) -> Iterator[tuple[FrameOutput, list[dict[str, Tensor]], Tensor]]:
        """Track a batch of clips with ground truth, frame by frame; only the last frame has losses.

        Yields:
            The matched frame, the losses of every layer, and their divisor; no losses and 0 for earlier frames.
        """
        criterion, tracks, last = self.criterion(), None, batch.num_frames - 1
        for index, targets in enumerate(batch.targets or ()):
            live = index == last or self.backprop_previous
            here = ctx.at(index, targets, has_grad=live)
            with nullcontext() if live else torch.no_grad():
                frame = replace(self._decode(batch, index, tracks, here), has_grad=live)
                frame, losses, count = criterion(frame, targets)
            yield frame, losses if index == last else [], count * (index == last)
            tracks = self._next_tracks(frame, targets, tracks, batch, here)

    def choose(
        self, frame: FrameOutput, ids: Tensor, generators: list[torch.Generator], ctx: Context
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the tracks of :func:`augment_tracks`; without random draws in evaluation."""
        drop, insert = (self.false_negatives, self.false_positive) if ctx.training else (False, 0.0)
        return *augment_tracks(frame, ids, generators, drop, insert), ids

    def form(
        self,
        frame: FrameOutput,
        ids: Tensor,
        before: TrackState | None,
        keep: Tensor,
        added: Tensor | None = None,
        misses: Tensor | None = None,
    ) -> TrackState:
        """Gather the selected slots as tracks; missed tracks keep the embedding and box with which they were seen."""
        if before is not None and before.queries is not None and misses is not None:
            frame = _as_last_seen(frame, before, misses > 0)
        return form_tracks(frame, ids, self.slot_queries(len(ids), before), keep, added, misses)

    def update(self, tracks: TrackState) -> TrackState:
        """Return the embeddings as queries, without position encoding."""
        if tracks.embeddings is None:
            return tracks
        return replace(tracks, queries=torch.cat([torch.zeros_like(tracks.embeddings), tracks.embeddings], -1))

    def track_parameters(self) -> Iterator[nn.Parameter]:
        """Return nothing: tracks have no parameters of their own."""
        yield from ()

    # Tracking.

    @property
    def reset_threshold(self) -> float:
        """The score from which a missed track counts as found again."""
        return self.reid_threshold

    def reported(self, tracks: TrackState, scores: Tensor) -> Tensor:
        """Return a mask ``(M,)`` of the tracks that are reported: those seen in this frame."""
        seen = super().reported(tracks, scores)
        return seen if tracks.misses is None else seen & (tracks.misses[0] == 0)

    def _live(self, frame: FrameOutput, scores: Tensor, before: TrackState | None) -> tuple[Tensor, Tensor]:
        ids, misses = frame.track_ids[0].clone(), torch.zeros_like(frame.track_ids[0])
        start, boxes = self.detector.num_queries, frame.boxes_cxcywh[0]
        if before is not None and before.misses is not None:
            misses[start:] = before.misses[0]
        followed, lost = ids >= 0, misses > 0
        seen = followed & (scores > torch.where(lost, self.reid_threshold, self.keep_threshold))
        if self.options["keep_rule"] == "tracker":
            unique = unique_slots(boxes, scores, seen, self.nms_threshold, torch.zeros_like(seen))
            ids[seen & ~unique] = -1
            seen = unique
        if self.options["birth"] == "tracker":
            born = frame.valid[0] & ~frame.is_track[0] & (scores > self.birth_threshold)
            born = unique_slots(boxes, scores, born, self.nms_threshold, seen)
            self._continue_lost(frame, before, ids, born, followed & lost & ~seen)
            new = born & (ids < 0)
            count = int(new.sum())
            ids[new] = torch.arange(self._next_id, self._next_id + count, device=ids.device)
            self._next_id += count
        misses = torch.where(seen | ~followed, 0, misses + 1)
        if self.options["keep_rule"] == "tracker":
            ids[misses >= self.miss_tolerance] = -1
        return ids[None], misses[None]

    def _continue_lost(
        self, frame: FrameOutput, before: TrackState | None, ids: Tensor, born: Tensor, lost: Tensor
    ) -> None:
        """Move identities of lost tracks to new detections with similar embeddings."""
        if before is None or before.embeddings is None or frame.embeddings is None:
            return
        slots, detections = lost.nonzero().squeeze(1), born.nonzero().squeeze(1)
        known = before.embeddings[0][slots - self.detector.num_queries]
        rows, columns = reidentify(known, frame.embeddings[0][detections], self.reid_distance)
        ids[detections[columns]] = ids[slots[rows]]
        ids[slots[rows]] = -1

    # Checkpoints.

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released TrackFormer, or without ``multi_frame`` a Deformable DETR as initialization.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys. A Deformable DETR leaves the class heads newly initialized if it has another number of
            classes.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        if not isinstance(self.detector, MultiFrameDETR):
            return self.import_detector(state)
        return load_trackformer(self.detector, state).within("detector.")

    # Memory.

    def frames_in_memory(self, clip_length: int) -> int:
        """Return the number of frames with gradient: 1 unless ``backprop_previous``."""
        return super().frames_in_memory(clip_length) if self.backprop_previous else 1


def _as_last_seen(frame: FrameOutput, before: TrackState, missed: Tensor) -> FrameOutput:
    """Return a frame in which missed slots have the embedding and box that their tracks had before."""
    start = missed.shape[1] - before.ids.shape[1]
    missed = missed[..., None]

    def restore(value: Tensor | None, old: Tensor | None) -> Tensor | None:
        if value is None or old is None:
            return value
        return torch.where(missed, torch.cat([value[:, :start], old.to(value.dtype)], 1), value)

    boxes = restore(frame.boxes_cxcywh, before.boxes_cxcywh)
    assert boxes is not None, "a frame has boxes"
    return replace(frame, boxes_cxcywh=boxes, embeddings=restore(frame.embeddings, before.embeddings))
