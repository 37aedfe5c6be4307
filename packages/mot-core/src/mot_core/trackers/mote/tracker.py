"""MOTE: MOTR whose track queries see the motion of the scene."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from mot_core.nn import (
    DetectorOutput,
    FlowEstimator,
    MotionInteraction,
    WrappedFlow,
    fuse_motion,
    make_flow,
    pool_motion,
)
from mot_core.plugins import Context
from mot_core.structures import FeaturePyramid, FrameOutput, TrackState
from mot_core.trackers.motr.tracker import MOTR
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings

PREVIOUS_IMAGES = "tracker/images"
"""Key of the images of the previous frame in the storage of a clip."""
MOTION = "tracker/motion"
"""Key of the motion of the current frame in the storage of a clip."""


class MOTE(MOTR):
    """MOTE, tracking through occlusions with optical flow (Galoaa et al., ICML 2025).

    MOTR whose query interaction receives the motion of the scene: the feature maps of the backbone and the optical flow
    from the previous frame are fused (:func:`mot_core.nn.fuse_motion`), averaged over the image, and projected to the
    positions of the attention among tracks (:class:`mot_core.nn.MotionInteraction`). The first frame of a clip or
    stream has no motion. Training and losses are those of :class:`MOTR`.

    Args:
        detector: Settings of the detector.
        optimizer: Settings of optimizer and schedule.
        flow: Estimator of the flow, see :func:`mot_core.nn.make_flow`: ``"zero"``, ``"lucas_kanade"``, or
            ``"raft:PATH"`` with weights of torchvision's ``raft_large``, which the paper uses. :meth:`use_flow` accepts
            any function.
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
    >>> losses, clip = MOTE(small, flow="lucas_kanade").losses(batch)
    >>> len(clip.frames), sorted(losses)
    (2, ['aux_class', 'aux_giou', 'aux_l1', 'class', 'giou', 'l1'])
    """

    configs = ("mote_mot17", "mote_dancetrack", "mote_synthetic")
    query_interaction: MotionInteraction

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        flow: str = "zero",
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
        super().__init__(
            detector, optimizer, drop=drop, insert=insert, birth_threshold=birth_threshold,
            keep_threshold=keep_threshold, miss_tolerance=miss_tolerance, report_threshold=report_threshold,
            min_area=min_area, checkpointing=checkpointing, seed=seed,
        )  # fmt: skip
        settings = detector or DetectorSettings()
        self.query_interaction = MotionInteraction(
            settings.embed_dim, settings.ffn_dim, settings.num_heads, settings.dropout
        )
        self.flow = make_flow(flow)

    def use_flow(self, flow: FlowEstimator) -> None:
        """Replace the flow estimator.

        Checkpoints store the parameters of a module, but not the function: call this again after loading one.

        Args:
            flow: Function or module ``(previous (B, 3, H, W), current (B, 3, H, W)) -> (B, 2, H, W)`` from normalized
                images to pixels.
        """
        self.flow = flow if isinstance(flow, nn.Module) else WrappedFlow(flow)

    def detect(
        self, images: Tensor, padding: Tensor, ctx: Context, tracks: TrackState | None = None
    ) -> tuple[DetectorOutput, FeaturePyramid]:
        """Run the detector, see :meth:`DETRTracker.detect`, and store the motion since the previous call."""
        output, pyramid = super().detect(images, padding, ctx, tracks)
        images = images.masked_fill(padding[:, None], 0)
        previous: Tensor | None = ctx.store.get(PREVIOUS_IMAGES)
        known = previous is not None and previous.shape == images.shape
        flow = self.flow(previous, images) if known else images.new_zeros(len(images), 2, *images.shape[2:])
        count = len(self.detector.backbone.channels)  # without the levels that are computed from others
        fused = fuse_motion(pyramid.levels[:count], flow)
        ctx.store[MOTION] = pool_motion(fused, pyramid.masks[count - 1])
        ctx.store[PREVIOUS_IMAGES] = images
        return output, pyramid

    def _update(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> TrackState:
        motion: Tensor | None = ctx.store.get(MOTION)
        if motion is not None:
            tracks = replace(tracks, memory=motion[:, None].expand(-1, tracks.ids.shape[1], -1))
        return super()._update(frame, tracks, ctx)

    def update(self, tracks: TrackState) -> TrackState:
        """Apply the query interaction module, with the motion in ``tracks.memory``."""
        if tracks.queries is None or tracks.embeddings is None:
            return tracks
        queries = self.query_interaction(tracks.queries, tracks.embeddings, tracks.valid, tracks.memory)
        return replace(tracks, queries=queries)
