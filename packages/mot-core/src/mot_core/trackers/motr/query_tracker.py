"""The base class of trackers with track queries, such as MOTR and MeMOTR."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from mot_core.plugins import Context
from mot_core.processes import mean_over_processes
from mot_core.structures import ClipBatch, ClipOutput, FrameOutput, FrameTargets, TrackState
from mot_core.trackers.detr import DETRTracker
from mot_core.trackers.motr.collective_loss import CollectiveLoss
from mot_core.trackers.motr.track_queries import next_ids
from mot_core.trackers.outputs import FrameTracks, query_slots
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings


class QueryTracker(DETRTracker):
    """A tracker whose tracks are queries of its detector, decoded after the learned queries of new objects.

    A subclass implements :meth:`criterion`, :meth:`choose`, :meth:`form`, :meth:`update`, :meth:`track_parameters` and
    :attr:`reset_threshold`.

    Args:
        detector: Settings of the detector.
        optimizer: Settings of optimizer and schedule.
        birth_threshold: Score from which a detection starts a track.
        keep_threshold: Score below which a track counts as missed.
        miss_tolerance: Number of missed frames after which a track ends.
        report_threshold: Score above which a track is reported.
        min_area: Box area in pixels of the original frame above which a track is reported.
        checkpointing: Recompute the detector in the backward pass, frame by frame, to save memory.
        track_attention: Let track queries attend to each other in the decoder.
        dab: Give queries an anchor box instead of a position.
        merge_layer: First decoder layer with tracks; above 0 only with ``dab``.
        multi_frame: Let the decoder also attend to the previous frame.
        seed: Seed for all random draws during training.
    """

    capabilities = frozenset(
        {"features", "decoder_layer", "embeddings", "live_boxes", "ids", "track_queries", "box_head"}
    )
    loss_weights: Mapping[str, float] = {"class": 2.0, "l1": 5.0, "giou": 2.0}
    tracking_parameters: ClassVar[tuple[str, ...]] = (
        "birth_threshold",
        "keep_threshold",
        "miss_tolerance",
        "report_threshold",
        "min_area",
    )
    accepts: ClassVar[Mapping[str, frozenset[str]]] = {
        "object_supervision": frozenset({"all"}),
        "query_update": frozenset({"plugin"}),
        "keep_rule": frozenset({"plugin"}),
        "birth": frozenset({"plugin"}),
    }

    def __init__(
        self,
        detector: DetectorSettings | None,
        optimizer: OptimizerSettings | None,
        *,
        birth_threshold: float,
        keep_threshold: float,
        miss_tolerance: int,
        report_threshold: float,
        min_area: float,
        checkpointing: bool = False,
        track_attention: bool = False,
        dab: bool = False,
        merge_layer: int = 0,
        multi_frame: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            detector, optimizer, checkpointing=checkpointing, track_attention=track_attention, dab=dab,
            merge_layer=merge_layer, multi_frame=multi_frame, seed=seed,
        )  # fmt: skip
        if miss_tolerance < 1:
            raise ValueError(f"miss_tolerance: expected at least 1 frame, got {miss_tolerance}")
        self.birth_threshold, self.keep_threshold = birth_threshold, keep_threshold
        self.miss_tolerance = miss_tolerance
        self.report_threshold, self.min_area = report_threshold, min_area
        self._tracks: TrackState | None = None
        self._next_id = 0

    # Implemented by each tracker.

    @abstractmethod
    def criterion(self) -> CollectiveLoss:
        """Return the matching and losses of a frame."""

    @abstractmethod
    def choose(
        self, frame: FrameOutput, ids: Tensor, generators: list[torch.Generator], ctx: Context
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Select the slots that become tracks of the next frame of a training clip.

        Args:
            frame: Matched frame, with ``iou``.
            ids: ``(B, N)`` identities after matching.
            generators: One random generator per clip.
            ctx: Context of the frame.

        Returns:
            ``(B, N)`` masks of kept and added slots, and the identities, which may be changed to -1.
        """

    @abstractmethod
    def form(
        self,
        frame: FrameOutput,
        ids: Tensor,
        before: TrackState | None,
        keep: Tensor,
        added: Tensor | None = None,
        misses: Tensor | None = None,
    ) -> TrackState:
        """Gather the selected slots as tracks with the queries of this frame; ``before`` are its tracks."""

    def slot_queries(self, batch: int, before: TrackState | None) -> Tensor:
        """Return the queries of all slots of a frame ``(B, N, 2 C)``: the learned ones, then those of its tracks."""
        queries: Tensor = self.detector.query_embed.weight.expand(batch, -1, -1)
        if before is None or before.queries is None:
            return queries
        return torch.cat([queries, before.queries], 1)

    @abstractmethod
    def update(self, tracks: TrackState) -> TrackState:
        """Compute the queries of the next frame."""

    @abstractmethod
    def track_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that clips without tracks do not use."""

    @property
    @abstractmethod
    def reset_threshold(self) -> float:
        """The score from which a missed track counts as found again."""

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
                    losses[prefix + name] = self.loss_weights[name] * value + losses.get(prefix + name, 0)
        number = mean_over_processes(torch.stack(counts).sum())
        losses = {name: value / number for name, value in losses.items()}
        # Distributed training needs the gradient of every parameter, also for clips without tracks.
        losses["class"] = losses["class"] + sum(0 * one.sum() for one in self.track_parameters() if one.requires_grad)
        return losses, ClipOutput(frames, batch.targets)

    def follow(self, batch: ClipBatch, ctx: Context) -> Iterator[tuple[FrameOutput, list[dict[str, Tensor]], Tensor]]:
        """Track a batch of clips with ground truth, frame by frame.

        Yields:
            Results of :class:`CollectiveLoss`: the matched frame, the losses of every layer, and their divisor.
        """
        criterion = self.criterion()
        tracks = None
        for index, targets in enumerate(batch.targets or ()):
            here = ctx.at(index, targets)
            frame = self._decode(batch, index, tracks, here)
            frame, losses, count = criterion(frame, targets)
            yield frame, losses, count
            tracks = self._next_tracks(frame, targets, tracks, batch, here)

    def _next_tracks(
        self, frame: FrameOutput, targets: FrameTargets, before: TrackState | None, batch: ClipBatch, ctx: Context
    ) -> TrackState:
        ids = next_ids(frame, targets)
        if self.options["keep_rule"] == "plugin":
            keep, added = frame.valid & (ids >= 0), None
        else:
            keep, added, ids = self.choose(frame, ids, self.clip_generators(batch, ctx.step, ctx.frame), ctx)
        return self._update(frame, self.form(frame, ids, before, keep, added), ctx)

    def _decode(self, batch: ClipBatch, index: int, tracks: TrackState | None, ctx: Context) -> FrameOutput:
        """Decode the detections and tracks of a frame, and pass them through plug-ins."""
        tracks = tracks if tracks is not None and tracks.ids.shape[1] else None
        output, pyramid = self.detect(batch.images[:, index], batch.padding, ctx, tracks)
        merge_layer = self.detector.decoder.merge_layer
        return self.plugins.on_embeddings(query_slots(output, pyramid, batch, index, tracks, merge_layer), ctx)

    def _update(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> TrackState:
        """Update the tracks to the queries of the next frame."""
        if self.options["query_update"] == "tracker":
            tracks = self.update(tracks)
        return self.plugins.on_tracks_update(frame, tracks, ctx)

    # Tracking.

    def track_frame(self, batch: ClipBatch, ctx: Context) -> FrameTracks:
        """Track the next frame of a stream."""
        before = self._tracks
        frame = self._decode(batch, 0, before, ctx)
        scores, classes = frame.logits[0].sigmoid().max(-1)
        ids, misses = self._live(frame, scores, before)
        tracks = self.form(frame, ids, before, frame.valid & (ids >= 0), misses=misses)
        self._tracks = tracks = self._update(frame, tracks, ctx)
        if tracks.boxes_cxcywh is None or tracks.scores is None:
            raise ValueError(
                "on_tracks_update: expected tracks with boxes_cxcywh and scores, got a plug-in result without them"
            )
        boxes, area = tracks.boxes_cxcywh[0], batch.original_size[0].prod()
        seen = self.reported(tracks, tracks.scores)
        seen &= boxes[:, 2] * boxes[:, 3] * area > self.min_area
        found = tracks.ids[0][seen]
        same = found[:, None] == ids  # a track created by a plug-in has no slot, and gets class 0
        labels = classes[same.to(torch.uint8).argmax(-1)].where(same.any(-1), 0)
        return FrameTracks(found, boxes[seen], tracks.scores[0][seen], labels)

    def reported(self, tracks: TrackState, scores: Tensor) -> Tensor:
        """Return a mask ``(M,)`` of the tracks of a stream that are reported, apart from their area."""
        return tracks.valid[0] & (tracks.ids[0] >= 0) & (scores[0] > self.report_threshold)

    def reset(self) -> None:
        """Drop all tracks before a new stream."""
        self._tracks, self._next_id = None, 0

    def _live(self, frame: FrameOutput, scores: Tensor, before: TrackState | None) -> tuple[Tensor, Tensor]:
        """Return identities and misses ``(1, N)`` of the slots after births and deaths."""
        ids, misses = frame.track_ids[0].clone(), torch.zeros_like(frame.track_ids[0])
        if before is not None and before.misses is not None:
            misses[self.detector.num_queries :] = before.misses[0]
        followed = ids >= 0
        misses[scores >= self.reset_threshold] = 0
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
