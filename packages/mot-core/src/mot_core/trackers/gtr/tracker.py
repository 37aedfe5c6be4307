"""GTR: global tracking transformers on a center detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, normalize_boxes, pairwise_iou, xyxy_to_cxcywh
from mot_core.checkpoints import ImportReport, load_gtr
from mot_core.nn import (
    CenterNet,
    CenterNetCriterion,
    CenterNetOutput,
    DenseOutput,
    roi_align,
    window_association_loss,
    window_association_targets,
)
from mot_core.plugins import Context
from mot_core.processes import mean_over_processes
from mot_core.slots import boxes_xyxy, take
from mot_core.structures import ClipBatch, FeaturePyramid, FrameOutput, FrameTargets, TrackerSpec, TrackState
from mot_core.trackers.dense import DenseFrame, DenseTracker
from mot_core.trackers.gtr.window import SlidingWindow, WindowFrame, WindowTracks
from mot_core.trackers.outputs import FrameTracks
from mot_core.trackers.settings import AssociationSettings, CenterNetSettings, OptimizerSettings, check_range


class GTR(DenseTracker):
    """GTR (Zhou et al., CVPR 2022, arXiv:2203.13250): association of all boxes of a window by a transformer.

    A center detector finds objects in each frame. RoIAlign on its finest level gives an embedding per box, and the
    association transformer the logits of all pairs of boxes. Losses are ``heat`` and ``box`` of the detector and
    ``association``, the cross-entropy over the boxes of each frame and "none". In tracking, the probabilities of the
    boxes of each track in the last ``window`` frames are added up, see
    :class:`mot_core.trackers.gtr.window.SlidingWindow`.

    Plug-ins receive the best cell of every object and the strongest false detections, with embeddings and the
    association logits of consecutive frames. Boxes are live, also where the features are pooled from detached ones.
    Scores of plug-ins (``on_associate``) replace the summed probabilities.

    Args:
        detector: Settings of the detector.
        association: Settings of the association transformer.
        optimizer: Settings of optimizer and schedule; by default the learning rate is 5e-5 for all parameters.
        association_weight: Weight of the loss of the association.
        extra_negatives: Number of false detections per frame that take part in the association in training.
        score_threshold: Lowest score of a detection that is tracked. Higher values give fewer false positives, but also
            fewer objects.
        nms_threshold: IoU with a stronger detection above which a detection is dropped.
        window: Number of frames of the window, including the current one. Higher values bridge longer occlusions.
        match_threshold: Score up to which a detection does not continue a track. Higher values start more tracks.
        decay: Factor of the association probabilities per frame of age.
        use_iou: Whether the IoU with the last box of a track can replace the summed probabilities.
        max_distance: Largest distance of a detection and the last box of its track, in lengths of the diagonal.
        min_area: Box area in pixels of the original frame above which a track is reported.
        seed: Seed for all random draws during training.

    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    >>> batch = collate([ClipDataset(SyntheticVideo(num_videos=1, num_frames=4), ClipSampling(2))[0]])
    >>> small = CenterNetSettings("micro", channels=16, norm="group", extra_levels=0)
    >>> tracker = GTR(small, AssociationSettings(embed_dim=32, num_heads=4))
    >>> losses, clip = tracker.losses(batch)
    >>> clip.frames[1].assoc.shape[1] == clip.frames[0].valid.shape[1], sorted(losses)
    (True, ['association', 'box', 'heat'])
    """

    capabilities = DenseTracker.capabilities | {"assoc"}
    configs = ("gtr_mot17", "gtr_dancetrack", "gtr_synthetic")
    tracking_parameters = (
        "score_threshold", "nms_threshold", "window", "match_threshold", "decay", "use_iou", "max_distance", "min_area",
    )  # fmt: skip
    fresh_keys = r"detector\.head\.heat_head\..*"
    detector: CenterNet

    def __init__(
        self,
        detector: CenterNetSettings | None = None,
        association: AssociationSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        association_weight: float = 1.0,
        extra_negatives: int = 10,
        score_threshold: float = 0.4,
        nms_threshold: float = 0.7,
        window: int = 32,
        match_threshold: float = 0.2,
        decay: float = 0.9,
        use_iou: bool = True,
        max_distance: float = 1.0,
        min_area: float = 100.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            None,
            optimizer or OptimizerSettings(lr=5e-5, backbone_scale=1.0),
            extra_negatives=extra_negatives,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            seed=seed,
        )
        check_range(0, float("inf"), association_weight=association_weight, max_distance=max_distance)
        check_range(0, float("inf"), match_threshold=match_threshold, min_area=min_area)
        check_range(2, 100_000, window=window)
        check_range(0, 1, decay=decay)
        self.association_weight, self.min_area = association_weight, min_area
        self.detector = (detector or CenterNetSettings()).build()
        self.global_association = (association or AssociationSettings()).build(self.detector.channels[0])
        self.criterion = CenterNetCriterion()
        self.window = SlidingWindow(window, match_threshold, decay, use_iou, max_distance)

    @property
    def spec(self) -> TrackerSpec:
        """The description of the tracker that plug-ins receive."""
        return TrackerSpec(
            type(self).__name__,
            self.capabilities,
            num_classes=self.detector.num_classes,
            embed_dim=self.global_association.embed_dim,
            feature_channels=self.detector.channels,
            strides=self.detector.strides,
            accepts=self.accepts,
        )

    # Detection.

    def detect(self, images: Tensor, padding: Tensor, ctx: Context) -> tuple[CenterNetOutput, FeaturePyramid]:
        """Run the detector, with ``on_features`` between pyramid and head."""
        pyramid = self.plugins.on_features(self.detector.features(images, padding), ctx)
        return self.detector.head(pyramid.levels), pyramid

    def detection_losses(
        self, output: DenseOutput, targets: FrameTargets, image_size: Tensor, ctx: Context
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Assign cells to objects by their centers and compute the losses; the quality of a cell is its overlap."""
        assert isinstance(output, CenterNetOutput), "returned by detect"
        return self.criterion(output, targets, image_size)

    def slot_embeddings(self, output: DenseOutput, pyramid: FeaturePyramid, cells: Tensor) -> Tensor:
        """Return the embeddings of the boxes at ``cells (B, N)``, from features pooled at detached boxes."""
        boxes = cxcywh_to_xyxy(take(output.boxes_cxcywh, cells).detach()).flatten(0, 1)
        images = torch.arange(len(cells), device=cells.device).repeat_interleave(cells.shape[1])
        head = self.global_association
        pooled = roi_align(pyramid.levels[0], boxes, images, self.detector.strides[0], head.pool_size)
        return head.embed(pooled).view(*cells.shape, head.embed_dim)

    # Association in training.

    def relate(
        self, frames: Sequence[FrameOutput], targets: Sequence[FrameTargets], batch: ClipBatch
    ) -> tuple[dict[str, Tensor], list[FrameOutput]]:
        """Return the loss of the association, and the frames with the logits of consecutive ones."""
        totals, numbers, blocks = [], [], []
        for clip in range(len(frames[0].valid)):
            rows = [frame.valid[clip].nonzero().squeeze(1) for frame in frames]
            counts = [len(one) for one in rows]
            logits = self._logits(frames, clip, rows)
            total, number = window_association_loss(logits, counts, *_targets(frames, targets, clip, rows))
            totals.append(total)
            numbers.append(number)
            parts = [torch.split(part, counts, 1) for part in torch.split(logits, counts)]
            blocks.append([
                logits.new_zeros(frames[time].valid.shape[1], frames[time + 1].valid.shape[1]).index_put(
                    (rows[time][:, None], rows[time + 1][None, :]), parts[time][time + 1]
                )
                for time in range(len(frames) - 1)
            ])  # fmt: skip
        count = mean_over_processes(torch.stack(numbers).sum())
        loss = self.association_weight * torch.stack(totals).sum() / count.to(totals[0].dtype)
        assoc = [torch.stack(pair) for pair in zip(*blocks, strict=True)]
        more = [replace(frame, assoc=one) for frame, one in zip(frames[1:], assoc, strict=True)]
        return {"association": loss}, [frames[0], *more]

    def _logits(self, frames: Sequence[FrameOutput], clip: int, rows: Sequence[Tensor]) -> Tensor:
        """Return the association logits of all slots of a clip, ``(N, N)``."""
        embeddings, corners = [], []
        for frame, own in zip(frames, rows, strict=True):
            assert frame.embeddings is not None, "slot_embeddings returns some"
            embeddings.append(frame.embeddings[clip, own])
            corners.append(cxcywh_to_xyxy(frame.boxes_cxcywh[clip, own].detach()))
        logits: Tensor = self.global_association(torch.cat(embeddings), [len(own) for own in rows], torch.cat(corners))
        return logits

    # Association in tracking.

    def associate(self, now: DenseFrame) -> FrameTracks:
        """Match the detections of a frame to the tracks of the window; all of them are tracks then."""
        assert now.frame.embeddings is not None, "slot_embeddings returns some"
        scores, classes = now.scores
        found = WindowFrame(now.boxes_xyxy, scores, now.frame.embeddings[0, now.rows], now.time)

        def rescore(tracks: WindowTracks) -> Tensor | None:
            given = self.plugins.on_associate(now.frame, _state(tracks, now), now.ctx) if self.plugins else None
            return None if given is None else given[0, :, now.rows]

        ids = self.window.update(found, now.size, self.global_association, rescore)
        sizes = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
        large = sizes.prod(-1) > self.min_area
        boxes = xyxy_to_cxcywh(normalize_boxes(found.boxes_xyxy, now.size))
        return FrameTracks(ids[large] - 1, boxes[large], scores[large], classes[large])

    def reset(self) -> None:
        """Drop all tracks before a new stream."""
        self.window.reset()

    # Weights.

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load the association transformer of a released GTR; the detector keeps its weights and must be trained.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys. Those of the released detector, of another architecture, are unused.

        Raises:
            ValueError: If the checkpoint has no association of this architecture.
        """
        report = load_gtr(self.global_association, state).within("global_association.")
        return replace(report, missing=tuple(f"detector.{name}" for name in self.detector.state_dict()))


def _targets(
    frames: Sequence[FrameOutput], targets: Sequence[FrameTargets], clip: int, rows: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the targets of the association of a clip."""
    overlaps, identities = [], []
    for frame, truth, own in zip(frames, targets, rows, strict=True):
        valid = truth.valid[clip]
        objects = denormalize_boxes(cxcywh_to_xyxy(truth.boxes_cxcywh[clip, valid]), frame.image_size[clip])
        overlaps.append(pairwise_iou(objects, boxes_xyxy(frame)[clip, own].detach().to(objects.dtype)))
        identities.append(truth.ids[clip, valid])
    return window_association_targets(overlaps, identities)


def _state(tracks: WindowTracks, now: DenseFrame) -> TrackState:
    """Return the tracks of the window for plug-ins."""
    ids = tracks.ids[None] - 1
    return TrackState(
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        xyxy_to_cxcywh(normalize_boxes(tracks.last.boxes_xyxy, now.size))[None],
        tracks.last.scores[None],
        misses=(now.time - tracks.times - 1)[None],
        embeddings=tracks.last.embeddings[None],
    )
