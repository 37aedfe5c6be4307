"""The spatial adapter as a plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from fdta_adapters.functional.depth_bins import BinValue, Convention, DepthBins
from fdta_adapters.functional.foreground import foreground_mask
from fdta_adapters.modules.spatial import DepthState, Residual, SpatialAdapter
from fdta_adapters.plugins.released_weights import load, spatial_arguments, spatial_state
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.nn import sine_position
from mot_core.plugins import Context, Plugin
from mot_core.processes import mean_over_processes
from mot_core.structures import ClipOutput, FeaturePyramid, FrameTargets, TrackerSpec

Normalizer = Literal["pixels", "boxes"]


class SpatialAdapterPlugin(Plugin):
    """Predict depth from the features of a detector, and let its queries attend to it in every decoder layer.

    Training needs the depth maps ``depth (B, 1, H, W)`` in the extras of the targets; frames whose map is NaN are
    ignored. Tracking needs none. Logs the mean absolute error of the predicted depth.

    Args:
        weight: Weight of the depth loss. 0 switches the adapter off: the tracker stays bit-identical.
        warmup_steps: Steps over which the weight of the depth loss rises linearly from 0.
        num_bins: Number of depth bins.
        d_min: Smallest depth, in the unit of the maps.
        d_max: Largest depth, in the unit of the maps.
        bin_value: Depth of a bin: "center", or "left_edge" as in the released code.
        convention: Meaning of the maps: "disparity" if large values are near, as in mot-core's maps from 0 (far) to 255
            (near), or "depth".
        foreground_weight: Weight of pixels inside objects in the depth loss.
        normalizer: Divisor of the depth loss: the number of "pixels", or of "boxes" in the clip as in the released
            code.
        smoothing: Share of all other bins in the target; the released code uses 1e-6.
        wrap_boxes: See :func:`fdta_adapters.foreground_mask`; True as in the released code.
        supervise: Compute the depth loss. False: only the tracker's own losses train the adapter.
        residual: "postnorm" as in the paper, or "gated": with gates that start closed, which leaves a trained tracker
            bit-identical at first.
        num_heads: Heads of all attentions.
        encoder_layers: Layers of the depth encoder.
        encoder_stride: Stride in pixels of the cells that queries attend to. None: that of the finest feature level.
        ffn_dim: Hidden channels of the depth encoder. None: as many as the features.
        dropout: Dropout probability of the depth encoder.
        share_coarse: Use one projection for all levels but the finest.
        detach_depth: Keep the gradients of the tracker's losses out of the predicted depth.
        mask_padding: Exclude padded cells from features and loss. False: as in the released code, in which boxes also
            scale with the padded image.
        checkpointing: Recompute the adapter in the backward pass to save memory.

    >>> SpatialAdapterPlugin(num_bins=120).bins.num_bins
    120
    """

    name = "fdta_spatial"
    requires = ("features", "decoder_layer")

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        num_bins: int = 150,
        d_min: float = 1e-3,
        d_max: float = 256.0,
        bin_value: BinValue = "center",
        convention: Convention = "disparity",
        foreground_weight: float = 7.0,
        normalizer: Normalizer = "pixels",
        smoothing: float = 0.0,
        wrap_boxes: bool = False,
        supervise: bool = True,
        residual: Residual = "postnorm",
        num_heads: int = 8,
        encoder_layers: int = 1,
        encoder_stride: int | None = None,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        share_coarse: bool = True,
        detach_depth: bool = False,
        mask_padding: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(weight, warmup_steps)
        if normalizer not in ("pixels", "boxes"):
            raise ValueError(f"normalizer: expected pixels or boxes, got {normalizer!r}")
        if not foreground_weight > 0:
            raise ValueError(f"foreground_weight: expected a positive number, got {foreground_weight}")
        self.bins = DepthBins(num_bins, d_min, d_max, bin_value, convention)
        self.foreground_weight, self.normalizer, self.smoothing = foreground_weight, normalizer, smoothing
        self.wrap_boxes, self.supervise, self.mask_padding = wrap_boxes, supervise, mask_padding
        self.encoder_stride = encoder_stride
        self.settings: dict[str, Any] = {
            "residual": residual, "num_heads": num_heads, "encoder_layers": encoder_layers, "ffn_dim": ffn_dim,
            "dropout": dropout, "share_coarse": share_coarse, "detach_depth": detach_depth,
            "mask_padding": mask_padding, "checkpointing": checkpointing,
        }  # fmt: skip

    def setup(self, spec: TrackerSpec) -> Mapping[str, str]:
        """Build the adapter for the features and decoder of the tracker."""
        channels = spec.feature_channels[0]
        if channels != spec.embed_dim:
            raise ValueError(
                f"plug-in {self.name!r}: expected features and queries of equal width, got {channels} and "
                f"{spec.embed_dim} channels in {spec.name!r}"
            )
        self.adapter = SpatialAdapter(
            channels,
            spec.decoder_layers,
            bins=self.bins,
            levels=tuple(range(min(3, len(spec.strides)))),
            encoder_stride=self.encoder_stride or spec.strides[0],
            feature_stride=spec.strides[0],
            **self.settings,
        )
        return {}

    def on_features(self, features: FeaturePyramid, ctx: Context) -> FeaturePyramid:
        """Predict the depth of the images of a call."""
        if not self.weight:
            return features
        positions = features.positions or tuple(
            sine_position(mask, level.shape[1]) for level, mask in zip(features.levels, features.masks, strict=True)
        )
        state = self.adapter.encode(features.levels, features.masks, positions)
        # Replaced by every call: the decoder layers of a call follow its features, also when a checkpoint recomputes.
        ctx.store["state"] = state
        if ctx.targets is not None and ctx.has_grad and self.supervise and "depth" in ctx.targets.extras:
            calls = ctx.store.setdefault("calls", {})
            if calls is not None:  # None after the loss: storing what backward recomputes would hold its memory
                calls.setdefault(ctx.frame, (state, ctx.targets))
        return features

    def on_decoder_layer(self, layer: int, hidden: Tensor, ctx: Context) -> Tensor:
        """Let the queries attend to the depth."""
        return self.adapter.attend(layer, hidden, ctx.store["state"]) if self.weight else hidden

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Compute the depth loss of all frames with gradient.

        Raises:
            ValueError: If no frame of a training clip has a depth map.
        """
        calls = list((ctx.store.get("calls") or {}).values())
        ctx.store["calls"] = None
        if not calls and ctx.training and self.supervise and self.weight:
            raise ValueError(
                f"plug-in {self.name!r}: expected the depth maps of the frames in targets.extras['depth'], got none; "
                "load them (--data.with_depth true), or set supervise to false"
            )
        loss = sum((0 * one.sum() for one in self.parameters()), torch.zeros(()))
        pixels, errors = loss.new_zeros(()), loss.new_zeros(())
        for state, targets in calls:
            total, count, error = self._compare(state, targets)
            loss, pixels, errors = loss + total, pixels + count, errors + error
        if calls:
            ctx.log("depth_error", errors / pixels.clamp(min=1))
        if self.supervise:  # in every process, because the mean waits for all of them
            boxes = sum((targets.valid.sum() for targets in clip.targets or ()), torch.zeros_like(pixels))
            loss = loss / mean_over_processes(boxes if self.normalizer == "boxes" else pixels)
        return {"loss": loss}

    def _compare(self, state: DepthState, targets: FrameTargets) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sum of losses of a call, the number of valid pixels, and the sum of their errors."""
        depth = targets.extras["depth"]
        padding = state.padding if self.mask_padding else torch.zeros_like(state.padding)
        height, width = state.depth.shape[-2:]
        seen = ~padding
        cells = torch.stack([seen.any(1).sum(1), seen.any(2).sum(1)], -1).to(targets.boxes_cxcywh)  # (B, 2) x, y
        boxes = cxcywh_to_xyxy(targets.boxes_cxcywh) * cells.repeat(1, 2)[:, None]
        foreground = foreground_mask(boxes, targets.valid, (height, width), wrap=self.wrap_boxes)
        valid = None if self.mask_padding else seen
        total, count = self.adapter.loss_terms(
            state, depth, foreground, valid, foreground_weight=self.foreground_weight, smoothing=self.smoothing
        )
        if self.normalizer == "boxes":  # the released code sums the means of images
            total = total / (height * width)
        error = self.adapter.depth_error(state, depth, valid)
        return total, count, error

    @classmethod
    def released_arguments(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the arguments that fit a released FDTA; None for other weights."""
        return spatial_arguments(state)

    def import_weights(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        """Load the depth predictor and the depth attention of a released FDTA."""
        return load(self.adapter, spatial_state(state, self.bins), "FDTA's spatial adapter")
