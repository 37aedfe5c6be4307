"""MOTR: tracks as detector queries that are passed from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from mot_core.checkpoints import ImportReport
from mot_core.nn import DetectorOutput, QueryInteraction, mean_over_processes
from mot_core.plugins import Context
from mot_core.structures import ClipBatch, ClipOutput, FeaturePyramid, FrameOutput, TrackState
from mot_core.trackers.base import FrameTracks
from mot_core.trackers.detr import DETRTracker
from mot_core.trackers.motr.collective_loss import CollectiveLoss
from mot_core.trackers.motr.released_weights import load_motr
from mot_core.trackers.motr.track_queries import choose_tracks, form_tracks, next_ids
from mot_core.trackers.outputs import frame_output
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings

WEIGHTS = {"class": 2.0, "l1": 5.0, "giou": 2.0}


class MOTR(DETRTracker):
    """MOTR, end-to-end tracking with transformers (Zeng et al. 2022, arXiv 2105.03247).

    A Deformable DETR detects new objects with its learned queries. The embedding of an object becomes, after the query
    interaction module, a query of the next frame that detects the same object again.

    Clips of a batch may have different numbers of tracks. Losses are ``class``, ``l1`` and ``giou`` of the last layer,
    and ``aux_...`` of all earlier layers, weighted 2, 5 and 2: sums over all frames, divided by the number of objects
    plus the number of tracks whose object has left.

    Args:
        detector: Settings of the detector.
        optimizer: Settings of optimizer and schedule.
        drop: Probability that a track is dropped in training, so that its object must be detected again.
        insert: Probability that a track adds a false track in training, so that the tracker learns to end it.
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

    capabilities = frozenset(
        {"features", "decoder_layer", "embeddings", "live_boxes", "ids", "track_queries", "box_head"}
    )
    configs = ("motr_mot17", "motr_dancetrack", "motr_synthetic")
    tracking_parameters = ("birth_threshold", "keep_threshold", "miss_tolerance", "report_threshold", "min_area")
    accepts: ClassVar[Mapping[str, frozenset[str]]] = {
        "object_supervision": frozenset({"all"}),
        "query_update": frozenset({"plugin"}),
        "keep_rule": frozenset({"plugin"}),
        "birth": frozenset({"plugin"}),
    }

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        drop: float = 0.1,
        insert: float = 0.3,
        birth_threshold: float = 0.7,
        keep_threshold: float = 0.6,
        miss_tolerance: int = 5,
        report_threshold: float = 0.7,
        min_area: float = 100.0,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(detector, optimizer, checkpointing=checkpointing, track_attention=True, seed=seed)
        for name, value in (("drop", drop), ("insert", insert)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a probability in [0, 1], got {value}")
        if miss_tolerance < 1:
            raise ValueError(f"miss_tolerance: expected at least 1 frame, got {miss_tolerance}")
        settings = detector or DetectorSettings()
        self.query_interaction = QueryInteraction(
            settings.embed_dim, settings.ffn_dim, settings.num_heads, settings.dropout
        )
        self.drop, self.insert = drop, insert
        self.birth_threshold, self.keep_threshold = birth_threshold, keep_threshold
        self.miss_tolerance = miss_tolerance
        self.report_threshold, self.min_area = report_threshold, min_area
        self._tracks: TrackState | None = None
        self._next_id = 0

    # Training.

    def clip_losses(self, batch: ClipBatch, ctx: Context) -> tuple[dict[str, Tensor], ClipOutput]:
        """Compute the collective loss of a batch of clips, and return it with all predictions."""
        frames, counts = [], []
        losses: dict[str, Tensor] = {}
        for frame, layers, count in self.follow(batch, ctx):
            frames.append(frame)
            counts.append(count)
            for index, layer in enumerate(layers, 1):
                prefix = "" if index == len(layers) else "aux_"
                for name, value in layer.items():
                    losses[prefix + name] = WEIGHTS[name] * value + losses.get(prefix + name, 0)
        number = mean_over_processes(torch.stack(counts).sum())
        losses = {name: value / number for name, value in losses.items()}
        losses["class"] = losses["class"] + self._zero_of_track_parameters()
        return losses, ClipOutput(frames, batch.targets)

    def follow(self, batch: ClipBatch, ctx: Context) -> Iterator[tuple[FrameOutput, list[dict[str, Tensor]], Tensor]]:
        """Track a batch of clips with ground truth, frame by frame.

        Yields:
            Results of :class:`CollectiveLoss`: the matched frame, the losses of every layer, and their divisor.
        """
        criterion = CollectiveLoss(all_objects=self.options["object_supervision"] == "all")
        times = batch.times.tolist()
        tracks = None
        for index, targets in enumerate(batch.targets or ()):
            here = ctx.at(index, targets)
            frame = self._decode(batch, index, tracks, here)
            frame, losses, count = criterion(frame, targets)
            yield frame, losses, count
            ids = next_ids(frame, targets)
            if self.options["keep_rule"] == "plugin":
                keep, added = frame.valid & (ids >= 0), None
            else:
                random = [
                    self.generator(ctx.step, sequence, time, index)
                    for sequence, time in zip(batch.sequences, times, strict=True)
                ]
                drop, insert = (self.drop, self.insert) if ctx.training else (0.0, 0.0)
                keep, added = choose_tracks(frame, ids, random, drop, insert)
            tracks = self._update(frame, form_tracks(frame, ids, self._queries(tracks, batch), keep, added), here)

    def _decode(self, batch: ClipBatch, index: int, tracks: TrackState | None, ctx: Context) -> FrameOutput:
        """Decode the detections and tracks of a frame, and pass them through plug-ins."""
        tracks = tracks if tracks is not None and tracks.ids.shape[1] else None
        output, pyramid = self.detect(batch.images[:, index], batch.padding, ctx, tracks)
        return self.plugins.on_embeddings(_slots(output, pyramid, batch, index, tracks), ctx)

    def _queries(self, tracks: TrackState | None, batch: ClipBatch) -> Tensor:
        """Return the queries from which a frame was decoded, ``(B, N, 2C)``."""
        learned = self.detector.query_embed.weight.expand(len(batch), -1, -1)
        return learned if tracks is None or tracks.queries is None else torch.cat([learned, tracks.queries], 1)

    def _update(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> TrackState:
        """Update the tracks to the queries of the next frame."""
        if self.options["query_update"] == "tracker" and tracks.queries is not None and tracks.embeddings is not None:
            tracks = replace(tracks, queries=self.query_interaction(tracks.queries, tracks.embeddings, tracks.valid))
        return self.plugins.on_tracks_update(frame, tracks, ctx)

    def _zero_of_track_parameters(self) -> Tensor | int:
        """Return 0, connected to all track parameters, which distributed training needs for clips without tracks."""
        decoder = self.detector.decoder.named_parameters()
        parts = [*self.query_interaction.parameters(), *(one for name, one in decoder if "track_attn" in name)]
        return sum(0 * part.sum() for part in parts if part.requires_grad)

    # Tracking.

    def track_frame(self, batch: ClipBatch, ctx: Context) -> FrameTracks:
        """Track the next frame of a stream."""
        before = self._tracks
        frame = self._decode(batch, 0, before, ctx)
        scores, classes = frame.logits[0].sigmoid().max(-1)
        ids, misses = self._live(frame, scores, before)
        keep = frame.valid & (ids >= 0)
        tracks = form_tracks(frame, ids, self._queries(before, batch), keep, misses=misses)
        self._tracks = tracks = self._update(frame, tracks, ctx)
        if tracks.boxes_cxcywh is None or tracks.scores is None:
            raise ValueError(
                "on_tracks_update: expected tracks with boxes_cxcywh and scores, got a plug-in result without them"
            )
        boxes, area = tracks.boxes_cxcywh[0], batch.original_size[0].prod()
        seen = tracks.valid[0] & (tracks.ids[0] >= 0) & (tracks.scores[0] > self.report_threshold)
        seen &= boxes[:, 2] * boxes[:, 3] * area > self.min_area
        found = tracks.ids[0][seen]
        same = found[:, None] == ids  # a track created by a plug-in has no slot, and gets class 0
        labels = classes[same.to(torch.uint8).argmax(-1)].where(same.any(-1), 0)
        return FrameTracks(found, boxes[seen], tracks.scores[0][seen], labels)

    def reset(self) -> None:
        """Drop all tracks before a new stream."""
        self._tracks, self._next_id = None, 0

    def _live(self, frame: FrameOutput, scores: Tensor, before: TrackState | None) -> tuple[Tensor, Tensor]:
        """Return identities and misses ``(1, N)`` of the slots after births and deaths."""
        ids, misses = frame.track_ids[0].clone(), torch.zeros_like(frame.track_ids[0])
        if before is not None and before.misses is not None:
            misses[self.detector.num_queries :] = before.misses[0]
        followed = ids >= 0
        misses[scores >= self.birth_threshold] = 0
        missed = followed & (scores < self.keep_threshold)
        misses[missed] += 1
        if self.options["keep_rule"] == "tracker":
            ids[missed & (misses >= self.miss_tolerance)] = -1
        if self.options["birth"] == "tracker":
            born = frame.valid[0] & ~frame.is_track[0] & (scores >= self.birth_threshold)
            count = int(born.sum())
            ids[born] = torch.arange(self._next_id, self._next_id + count, device=ids.device)
            self._next_id += count
        return ids[None], misses[None]

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


def _slots(
    output: DetectorOutput, pyramid: FeaturePyramid, batch: ClipBatch, index: int, tracks: TrackState | None
) -> FrameOutput:
    """Convert the predictions to a frame output, with earlier layers as ``aux`` and track flags."""
    layers, clips, slots = output.logits.shape[:3]
    valid = torch.ones(clips, slots, dtype=torch.bool, device=output.logits.device)
    is_track, track_ids = torch.zeros_like(valid), valid.long().fill_(-1)
    if tracks is not None:
        start = slots - tracks.ids.shape[1]
        valid[:, start:] = is_track[:, start:] = tracks.valid
        track_ids[:, start:] = tracks.ids.where(tracks.valid, -1)
    marks: dict[str, Any] = {"valid": valid, "is_track": is_track, "track_ids": track_ids}
    aux = tuple(
        frame_output(
            output, batch, index, **marks,
            boxes_cxcywh=output.boxes_cxcywh[layer], logits=output.logits[layer], embeddings=output.hidden[layer],
        )
        for layer in range(layers - 1)
    )  # fmt: skip
    reference = output.references[-1]
    return frame_output(
        output, batch, index, **marks, aux=aux, features=pyramid,
        ref_boxes_cxcywh=reference if reference.shape[-1] == 4 else None,
    )  # fmt: skip
