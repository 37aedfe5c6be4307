"""The base class of trackers with a deformable-DETR detector, such as MOTIP and MOTR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mot_core.checkpoints import ImportReport, load_deformable_detr
from mot_core.nn import DeformableDETR, DetectorOutput, MultiFrameDETR
from mot_core.plugins import Context
from mot_core.structures import ClipBatch, FeaturePyramid, TrackerSpec, TrackState
from mot_core.trackers.base import Tracker
from mot_core.trackers.outputs import HIGHEST_SCORE
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings

PREVIOUS_FEATURES = "tracker/features"
"""Key of the features of the previous frame in the storage of a clip. Names of plug-ins contain no slash."""


class DETRTracker(Tracker):
    """A tracker on top of :class:`mot_core.nn.DeformableDETR`, with the plug-in hooks of the detector.

    Args:
        detector: Detector settings; by default those of the papers.
        optimizer: Optimizer and learning-rate schedule; by default those of the papers.
        checkpointing: Recompute the detector in the backward pass, frame by frame. Saves most of the memory of a
            training step and costs about a third more time.
        track_attention: Let track queries attend to each other in the decoder (MOTR).
        dab: Give queries an anchor box instead of a position (DAB-Deformable-DETR; MeMOTR).
        merge_layer: First decoder layer with tracks; above 0 only with ``dab`` (MeMOTR).
        multi_frame: Let the decoder also attend to the previous frame of the clip or stream (TrackFormer).
        seed: Seed for all random draws during training.
    """

    fresh_keys = r"detector\.class_heads\..*"
    detector: DeformableDETR

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        checkpointing: bool = False,
        track_attention: bool = False,
        dab: bool = False,
        merge_layer: int = 0,
        multi_frame: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, seed=seed)
        self.checkpointing = checkpointing
        self.detector = (detector or DetectorSettings()).build(
            track_attention=track_attention, dab=dab, merge_layer=merge_layer, multi_frame=multi_frame
        )

    @property
    def spec(self) -> TrackerSpec:
        """The description of the tracker that plug-ins receive."""
        detector = self.detector
        box_heads = detector.decoder.box_heads
        return TrackerSpec(
            type(self).__name__,
            self.capabilities,
            num_classes=detector.num_classes,
            embed_dim=detector.embed_dim,
            feature_channels=(detector.embed_dim,) * len(detector.strides),
            strides=detector.strides,
            decoder_layers=len(box_heads),
            box_head=box_heads[-1],
            class_head=detector.class_heads[-1],
            accepts=self.accepts,
        )

    def clip_generators(self, batch: ClipBatch, step: int, *key: object) -> list[torch.Generator]:
        """Return a random generator for each clip, so that clips are independent of their batch."""
        return [
            self.generator(step, sequence, times, *key)
            for sequence, times in zip(batch.sequences, batch.times.tolist(), strict=True)
        ]

    def detect(
        self, images: Tensor, padding: Tensor, ctx: Context, tracks: TrackState | None = None
    ) -> tuple[DetectorOutput, FeaturePyramid]:
        """Run the detector with the hooks of the plug-ins, on one frame of each clip or on several frames.

        Args:
            images: Normalized images, ``(B, 3, H, W)``.
            padding: True where an image is padded, ``(B, H, W)`` bool.
            ctx: Context of this call. With multi-frame attention, the features of the previous call of the same clip or
                stream are attended to.
            tracks: Track queries to decode in addition to the learned queries.
        """
        # Read here, because checkpointing runs the detector again after later frames have replaced it.
        previous: FeaturePyramid | None = ctx.store.get(PREVIOUS_FEATURES)

        def run(images: Tensor) -> tuple[DetectorOutput, FeaturePyramid]:
            pyramid = self.plugins.on_features(self.detector.features(images, padding), ctx)
            seen = self.detector.join(pyramid, previous) if isinstance(self.detector, MultiFrameDETR) else pyramid
            memory = self.detector.encode(seen)
            return self.detector.decode(
                seen, memory, tracks, lambda layer, hidden: self.plugins.on_decoder_layer(layer, hidden, ctx)
            ), pyramid

        result: tuple[DetectorOutput, FeaturePyramid]
        if self.checkpointing and self.training and torch.is_grad_enabled():
            result = checkpoint(run, images, use_reentrant=False)
        else:
            result = run(images)
        if isinstance(self.detector, MultiFrameDETR):
            ctx.store[PREVIOUS_FEATURES] = result[1]
        if not ctx.training:
            ctx.log(HIGHEST_SCORE, result[0].logits[-1].sigmoid().amax())
        return result

    # Weights.

    def import_detector(self, state: Mapping[str, Tensor], prefix: str = "") -> ImportReport:
        """Load a released Deformable DETR as initialization; all other modules of the tracker stay as they are.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.
            prefix: Prefix of the detector's keys in ``state``.

        Returns:
            Report of all keys, with the names of this tracker.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        report = load_deformable_detr(self.detector, state, prefix=prefix).within("detector.")
        fresh = [name for name in self.state_dict() if not name.startswith(("detector.", "plugins."))]
        return replace(report, missing=(*report.missing, *fresh))

    # Optimizer.

    def learning_rate_scales(self) -> dict[str, float]:
        """Return the factors of backbone, sampling points, the rest of the tracker, and plug-ins."""
        settings = self.optimizer
        return {"backbone": settings.backbone_scale, "points": settings.points_scale, **super().learning_rate_scales()}

    def group_of(self, parameter_name: str) -> str:
        """Return the parameter group of a parameter."""
        if parameter_name.startswith("plugins."):
            return "plugins"
        if parameter_name.startswith("detector.backbone."):
            return "backbone"
        return "points" if "sampling_offsets" in parameter_name or ".reference_points." in parameter_name else "tracker"

    # Memory.

    @property
    def frame_network(self) -> nn.Module:
        """The detector."""
        return self.detector

    def frames_in_memory(self, clip_length: int) -> int:
        """Return 1 with checkpointing, otherwise all frames of a clip."""
        return 1 if self.checkpointing else clip_length

    @property
    def memory_advice(self) -> list[str]:
        """Checkpointing, unless it is on."""
        return [] if self.checkpointing else ["checkpointing=true"]
