"""The base class of trackers with a dense, anchor-free detector, associated online."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mot_core.association import DetectionBatch, OnlineTracker, TrackBatch
from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, normalize_boxes, xyxy_to_cxcywh
from mot_core.nn import DenseOutput
from mot_core.plugins import Context, Plugin
from mot_core.plugins.negotiation import groups
from mot_core.slots import slot_iou, take
from mot_core.structures import ClipBatch, ClipOutput, FeaturePyramid, FrameOutput, FrameTargets, TrackState
from mot_core.trackers.base import Tracker
from mot_core.trackers.compaction import choose_slots, suppress
from mot_core.trackers.frame_batches import join_targets
from mot_core.trackers.outputs import HIGHEST_SCORE, FrameTracks
from mot_core.trackers.settings import OptimizerSettings, check_range

RATE = 30.0  # frames per second of the association, so that its timestamps are real frame numbers


@dataclass(frozen=True, eq=False)
class DenseFrame:
    """The detections of the frame that is being associated.

    Attributes:
        frame: Slots of the frame.
        rows: Slots that are detections, ``(N,)`` int64.
        time: Frame number.
        size: Height and width of the original image in pixels, ``(2,)``.
        ctx: Context of the frame.
    """

    frame: FrameOutput
    rows: Tensor
    time: int
    size: Tensor
    ctx: Context

    @property
    def boxes_xyxy(self) -> Tensor:
        """Corners of the detections in pixels of the original image, ``(N, 4)``."""
        return denormalize_boxes(cxcywh_to_xyxy(self.frame.boxes_cxcywh[0, self.rows]), self.size)

    @property
    def scores(self) -> tuple[Tensor, Tensor]:
        """Confidences and classes of the detections, each ``(N,)``."""
        scores, classes = self.frame.logits[0, self.rows].sigmoid().max(-1)
        return scores, classes


class DenseTracker(Tracker):
    """A tracker that predicts a box per cell, and matches the detections of a frame to tracks online.

    A subclass sets ``detector``, with its backbone as ``detector.backbone``, and implements :meth:`detect` and
    :meth:`detection_losses`; one with an association of its own also
    :meth:`relate`, :meth:`associate` and :meth:`reset`. All frames of a batch of clips run through the detector at
    once. The slots that plug-ins see are few: in training, the best cell of every object and the strongest false
    detections; in tracking, the detections after non-maximum suppression.

    Args:
        association: Tracker of detections. ``on_associate`` of a plug-in replaces its cost by 1 minus the score. None
            for subclasses with an association of their own.
        optimizer: Optimizer and learning-rate schedule.
        extra_negatives: Number of false detections per frame that plug-ins see in training.
        score_threshold: Lowest score of a detection in tracking.
        nms_threshold: IoU with a stronger detection of its class above which a detection is dropped.
        max_candidates: Number of the strongest cells that non-maximum suppression compares.
        seed: Seed for all random draws during training.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"features", "embeddings", "live_boxes", "ids"})
    detector: nn.Module

    def __init__(
        self,
        association: OnlineTracker | None,
        optimizer: OptimizerSettings | None = None,
        *,
        extra_negatives: int = 10,
        score_threshold: float = 0.01,
        nms_threshold: float = 0.7,
        max_candidates: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, seed=seed)
        check_range(0, 100_000, extra_negatives=extra_negatives)
        check_range(1, 100_000, max_candidates=max_candidates)
        check_range(0, 1, score_threshold=score_threshold, nms_threshold=nms_threshold)
        self.extra_negatives = extra_negatives
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_candidates = max_candidates
        self.association = association
        if association is not None:
            self._default_cost, association.cost = association.cost, self._cost
            association.frame_rate = RATE
        self._now: DenseFrame | None = None
        self._embeddings: dict[int, Tensor] = {}  # of the detections, by frame

    # Implemented by each tracker.

    @abstractmethod
    def detect(self, images: Tensor, padding: Tensor, ctx: Context) -> tuple[DenseOutput, FeaturePyramid]:
        """Run the detector, with ``on_features`` of the plug-ins.

        Args:
            images: Normalized images, ``(B, 3, H, W)``.
            padding: True where an image is padded, ``(B, H, W)`` bool.
            ctx: Context of this call.
        """

    @abstractmethod
    def detection_losses(
        self, output: DenseOutput, targets: FrameTargets, image_size: Tensor, ctx: Context
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Assign cells to objects and compute the losses of the detector.

        Args:
            output: Predictions for ``B`` images.
            targets: Ground truth of the images.
            image_size: Height and width of the images without padding, of shape ``(B, 2)``.
            ctx: Context of the clips.

        Returns:
            The weighted losses by name, the row in the targets of the object of each cell ``(B, A)``, -1 for none, and
            the quality of the cell for its object ``(B, A)``, by which plug-ins get the best cell of every object.
        """

    # Overridden by trackers with embeddings of slots, or an association of their own.

    def slot_embeddings(self, output: DenseOutput, pyramid: FeaturePyramid, cells: Tensor) -> Tensor | None:
        """Return the embeddings ``(B, N, C)`` of the slots at ``cells (B, N)``, or None."""
        return None if output.embeddings is None else take(output.embeddings, cells)

    def relate(
        self, frames: Sequence[FrameOutput], targets: Sequence[FrameTargets], batch: ClipBatch
    ) -> tuple[dict[str, Tensor], list[FrameOutput]]:
        """Return further losses on all frames of the clips, and the frames, possibly with association logits."""
        return {}, list(frames)

    # Plug-ins.

    def setup(self, stage: str | None = None) -> None:
        """Set up the plug-ins once; a plug-in that needs embeddings needs an embedding head.

        Raises:
            ValueError: If the detector predicts no embeddings.
        """
        if "embeddings" not in self.spec.capabilities and self.plugins.spec is None:
            for name, plugin in self.plugins.items():
                needs = groups(cast(Plugin, plugin))
                if any("embeddings" in one and not one & self.spec.capabilities for one in needs):
                    raise ValueError(
                        f"plug-in {name!r} needs embeddings, and this detector predicts none; set "
                        "model.detector.embed_dim, for example to 128"
                    )
        super().setup(stage)

    # Training.

    def clip_losses(self, batch: ClipBatch, ctx: Context) -> tuple[dict[str, Tensor], ClipOutput]:
        """Compute the losses of the detector on all frames, and return them with the slots of each frame."""
        targets, clips = list(batch.targets or ()), len(batch)
        joined, size = join_targets(targets), batch.image_size.repeat(len(targets), 1)
        images = batch.images.transpose(0, 1).flatten(0, 1)
        output, pyramid = self.detect(images, batch.padding.repeat(len(targets), 1, 1), ctx.at(0, joined))
        losses, gt_index, quality = self.detection_losses(output, joined, size, ctx)
        frames = []
        for time, truth in enumerate(targets):
            rows = slice(time * clips, (time + 1) * clips)
            part = DenseOutput(
                output.boxes_cxcywh[rows],
                output.logits[rows],
                None if output.embeddings is None else output.embeddings[rows],
            )
            cells, valid = choose_slots(
                part, gt_index[rows], quality[rows], truth.valid.shape[1], self.extra_negatives,
                nms_threshold=self.nms_threshold, max_candidates=self.max_candidates,
            )  # fmt: skip
            levels, masks = (tuple(one[rows] for one in maps) for maps in (pyramid.levels, pyramid.masks))
            frame = self._slots(part, FeaturePyramid(levels, masks), batch, time, cells, valid)
            # Plug-ins get boxes within the range that they expect, also before the detector has learned anything.
            frame = replace(frame, boxes_cxcywh=_in_range(frame.boxes_cxcywh))
            frame = self.plugins.on_embeddings(frame, ctx.at(time, truth))
            frame = replace(frame, gt_index=take(gt_index[rows], cells).where(valid, -1))
            frames.append(replace(frame, iou=slot_iou(frame, truth)))
        more, frames = self.relate(frames, targets, batch)
        return {**losses, **more}, ClipOutput(frames, targets)

    def _slots(
        self, output: DenseOutput, pyramid: FeaturePyramid, batch: ClipBatch, time: int, cells: Tensor, valid: Tensor
    ) -> FrameOutput:
        """Return the predictions of ``cells (B, N)`` as slots, with boxes in [0, 1] of the image without padding."""
        return FrameOutput(
            normalize_boxes(take(output.boxes_cxcywh, cells), batch.image_size),
            take(output.logits, cells),
            valid,
            batch.image_size,
            batch.times[:, time],
            embeddings=self.slot_embeddings(output, pyramid, cells),
        )

    # Tracking.

    def track_frame(self, batch: ClipBatch, ctx: Context) -> FrameTracks:
        """Detect in the next frame of a stream, and update the tracks."""
        output, pyramid = self.detect(batch.images[:, 0], batch.padding, ctx)
        ctx.log(HIGHEST_SCORE, output.logits.sigmoid().amax())
        cells = suppress(
            output, self.score_threshold, nms_threshold=self.nms_threshold, max_candidates=self.max_candidates
        )
        valid = torch.ones_like(cells[None], dtype=torch.bool)
        frame = self._slots(output, pyramid, batch, 0, cells[None], valid)
        frame = self.plugins.on_embeddings(frame, ctx)
        corners = cxcywh_to_xyxy(frame.boxes_cxcywh[0])
        inside = ((corners[:, :2] < 1) & (corners[:, 2:] > 0)).all(-1)  # cells of padding may predict boxes there
        rows = (frame.valid[0] & inside).nonzero().squeeze(1)
        size = batch.original_size[0]
        return self.associate(DenseFrame(frame, rows, int(frame.time[0]), size, ctx))

    def associate(self, now: DenseFrame) -> FrameTracks:
        """Match the detections of a frame to the tracks, and return the tracks that are visible."""
        assert self.association is not None, "a tracker without one overrides this method"
        self._now = now
        scores, classes = now.scores
        labels = classes if self.spec.num_classes > 1 else None
        pixels = now.boxes_xyxy
        tracks = self.association.update(
            pixels.double(), scores.double(), labels, now.time / RATE, **self.association_inputs(now)
        )
        self._remember(now)
        boxes = xyxy_to_cxcywh(normalize_boxes(tracks.boxes_xyxy, now.size)).to(pixels)
        return FrameTracks(tracks.ids - 1, boxes, tracks.scores.to(scores), tracks.classes)

    def association_inputs(self, now: DenseFrame) -> dict[str, Tensor]:
        """Return further arguments of ``update`` of the association, such as embeddings."""
        return {}

    def reset(self) -> None:
        """Drop all tracks before a new stream."""
        if self.association is not None:
            self.association.reset()
        self._embeddings.clear()

    def _remember(self, now: DenseFrame) -> None:
        """Keep the embeddings of the detections for as long as a track may wait for its next detection."""
        if now.frame.embeddings is not None:
            self._embeddings[now.time] = now.frame.embeddings[0, now.rows]
            oldest = now.time - getattr(self.association, "max_age", 0) - 1
            self._embeddings = {time: value for time, value in self._embeddings.items() if time >= oldest}

    def _cost(self, tracks: TrackBatch, detections: DetectionBatch) -> npt.NDArray[np.float64]:
        """Return 1 minus the scores of the first plug-in that has any, otherwise the cost of the association."""
        now = self._now
        assert now is not None, "set by track_frame"
        scores = self.plugins.on_associate(now.frame, self._state(tracks, now), now.ctx) if self.plugins else None
        if scores is None:
            assert not isinstance(self._default_cost, str), "names are resolved on construction"
            return np.asarray(self._default_cost(tracks, detections))
        cost = 1 - scores[0, :, now.rows].double().clamp(0, 1).cpu().numpy()
        return np.asarray(cost[:, detections.index])

    def _state(self, tracks: TrackBatch, now: DenseFrame) -> TrackState:
        """Return all tracks for plug-ins, with predicted boxes and the embeddings of their last detections."""
        like = now.frame.boxes_cxcywh
        elapsed = tracks.elapsed.round().astype(np.int64)
        embeddings = now.frame.embeddings
        if embeddings is not None:
            pairs = zip(elapsed.tolist(), tracks.index.tolist(), strict=True)
            last = [self._embeddings[now.time - gone][row] for gone, row in pairs]
            embeddings = torch.stack(last)[None] if last else embeddings[:, :0]
        boxes = torch.as_tensor(tracks.boxes_xyxy, device=like.device)
        ids = torch.as_tensor(tracks.ids - 1, device=like.device)[None]
        return TrackState(
            ids,
            torch.ones_like(ids, dtype=torch.bool),
            xyxy_to_cxcywh(normalize_boxes(boxes, now.size)).to(like)[None],
            torch.as_tensor(tracks.scores, device=like.device).to(like)[None],
            misses=torch.as_tensor(elapsed - 1, device=like.device)[None],
            embeddings=embeddings,
        )

    # Optimizer.

    def learning_rate_scales(self) -> dict[str, float]:
        """Return the factors of backbone, the rest of the tracker, and plug-ins."""
        return {"backbone": self.optimizer.backbone_scale, **super().learning_rate_scales()}

    def group_of(self, parameter_name: str) -> str:
        """Return the parameter group of a parameter."""
        return "backbone" if parameter_name.startswith("detector.backbone.") else super().group_of(parameter_name)

    # Memory.

    @property
    def frame_network(self) -> nn.Module:
        """The detector."""
        return self.detector


def _in_range(boxes_cxcywh: Tensor) -> Tensor:
    """Limit centers to [0, 1] and sizes to (0, 1]; beyond, the gradient is 0.

    >>> _in_range(torch.tensor([[-0.5, 0.5, 3.0, 0.0]]))
    tensor([[0.0000e+00, 5.0000e-01, 1.0000e+00, 1.0000e-06]])
    """
    return torch.cat([boxes_cxcywh[..., :2].clamp(0, 1), boxes_cxcywh[..., 2:].clamp(1e-6, 1)], -1)
