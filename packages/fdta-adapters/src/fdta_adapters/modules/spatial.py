"""The spatial adapter: depth from features, and attention of decoder queries to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fdta_adapters.functional.depth_bins import DepthBins
from fdta_adapters.functional.depth_loss import depth_loss
from fdta_adapters.functional.depth_position import depth_position
from fdta_adapters.functional.foreground import foreground_mask, pad_boxes
from fdta_adapters.modules.attention import PostNormLayer, cross_attend

Residual = Literal["postnorm", "gated"]
Layout = Literal["BQC", "QBC"]


@dataclass(frozen=True, eq=False)
class DepthState:
    """Depth features of the images of one call.

    Attributes:
        logits: Logits of the depth bins, of shape ``(B, D + 1, h, w)``.
        depth: Expected depth of shape ``(B, h, w)``, in at least float32.
        memory: Depth features that queries attend to, of shape ``(B, S, C)``.
        key_padding: Boolean mask of shape ``(B, S)``, True where the memory is padding.
        padding: Boolean mask of shape ``(B, h, w)``, True where the maps are padding.
    """

    logits: Tensor
    depth: Tensor
    memory: Tensor
    key_padding: Tensor
    padding: Tensor


class DepthExtractor(nn.Module):
    """Fuse levels of a pyramid at the resolution of the finest one (FDTA, Eq. 10).

    Args:
        channels: Number of channels of every level.
        num_levels: Number of levels.
        share_coarse: Use one projection for all levels but the finest.
    """

    def __init__(self, channels: int, num_levels: int, share_coarse: bool = True) -> None:
        super().__init__()
        groups = math.gcd(32, channels)

        def project() -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GroupNorm(groups, channels))

        self.fine = project()
        self.coarse: nn.Module
        if share_coarse:
            self.coarse = project() if num_levels > 1 else nn.Identity()
        else:
            self.coarse = nn.ModuleList(project() for _ in range(num_levels - 1))
        self.blocks = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(groups, channels), nn.ReLU())
            )
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels ``(B, C, h_l, w_l)`` to ``(B, C, h_0, w_0)``."""
        fused = self.fine(levels[0])
        for index, level in enumerate(levels[1:]):
            project = self.coarse[index] if isinstance(self.coarse, nn.ModuleList) else self.coarse
            fused = fused + project(F.interpolate(level, fused.shape[-2:], mode="bilinear", align_corners=False))
        return self.blocks(fused / len(levels))


class DepthAttention(nn.Module):
    """Attention of queries to depth features: post-norm as released, or behind a gate that starts closed.

    Args:
        channels: Number of channels.
        heads: Number of heads.
        residual: "postnorm": ``norm(q + attention(q))``. "gated": ``q + tanh(gate) attention(norm(q))``.
    """

    def __init__(self, channels: int, heads: int, residual: Residual) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm = nn.LayerNorm(channels)
        self.gate = nn.Parameter(torch.zeros(())) if residual == "gated" else None

    def forward(self, queries: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        """Map queries ``(B, N, C)`` to the same shape."""
        if self.gate is None:
            return self.norm(queries + cross_attend(self.attention, queries, memory, memory, padding))
        attended = cross_attend(self.attention, self.norm(queries), memory, memory, padding)
        return queries + self.gate.tanh() * attended


class SpatialAdapter(nn.Module):
    """Predict depth from the features of a detector and let the queries of its decoder attend to it.

    Neighboring objects that look alike often differ in depth. In training the depth is supervised by depth maps; in
    tracking no map is needed. FDTA (CVPR 2026, arXiv 2512.02392), Eq. 1 and 2.

    Args:
        channels: Number of channels of features and queries, a multiple of ``num_heads``.
        num_decoder_layers: Number of decoder layers that attend to the depth.
        num_heads: Number of heads of all attentions.
        bins: Depth bins.
        levels: Indices of the pyramid levels used, from fine to coarse.
        encoder_layers: Number of layers of the depth encoder, which attends densely to all cells.
        encoder_stride: Stride in pixels of the cells in the depth encoder and memory, a multiple of ``feature_stride``.
            Twice the stride has a quarter of the cells and a sixteenth of the cost of the encoder.
        residual: "postnorm": as in the paper, for training from a detector. "gated": with a gate that starts closed,
            so that a trained tracker is bit-identical at first.
        detach_features: Keep the gradients of the adapter out of the detector's features.
        detach_encoder_input: Keep the gradients of the depth encoder out of the extractor, as in the released code.
        share_coarse: Use one projection for all levels but the finest.
        layout: Order of dimensions of queries: "BQC" for ``(B, N, C)``, "QBC" for ``(N, B, C)``.
        feature_stride: Stride of the finest level in pixels.
        ffn_dim: Hidden channels of the depth encoder. None: as many as ``channels``.
        dropout: Dropout probability of the depth encoder.
        detach_depth: Keep the gradients of the tracker's losses out of the predicted depth.
        mask_padding: Replace features of padded cells by 0, so that they have no effect. False: as in the released
            code, in which they enter the norms and the neighboring cells.
        checkpointing: Recompute extractor and encoder in the backward pass to save memory.

    >>> adapter = SpatialAdapter(32, num_decoder_layers=2, num_heads=4, bins=DepthBins(20), levels=(0,))
    >>> level, mask = torch.randn(1, 32, 4, 6), torch.zeros(1, 4, 6).bool()
    >>> state = adapter.encode([level], [mask], [torch.zeros_like(level)])
    >>> adapter.attend(0, torch.randn(1, 5, 32), state).shape
    torch.Size([1, 5, 32])
    """

    def __init__(
        self,
        channels: int = 256,
        num_decoder_layers: int = 6,
        num_heads: int = 8,
        bins: DepthBins | None = None,
        levels: Sequence[int] = (0, 1, 2),
        encoder_layers: int = 1,
        encoder_stride: int = 8,
        residual: Residual = "postnorm",
        detach_features: bool = True,
        detach_encoder_input: bool = True,
        share_coarse: bool = True,
        layout: Layout = "BQC",
        *,
        feature_stride: int = 8,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        detach_depth: bool = False,
        mask_padding: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if encoder_stride < feature_stride or encoder_stride % feature_stride:
            raise ValueError(
                f"encoder_stride: expected a multiple of the {feature_stride} pixels of the finest level, got "
                f"{encoder_stride}"
            )
        for name, value, known in (
            ("residual", residual, ("postnorm", "gated")),
            ("layout", layout, ("BQC", "QBC")),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected {' or '.join(known)}, got {value!r}")
        if channels % num_heads:
            raise ValueError(f"num_heads: expected a divisor of the {channels} channels, got {num_heads}")
        self.bins = bins or DepthBins()
        self.levels, self.layout = tuple(levels), layout
        self.factor = encoder_stride // feature_stride
        self.detach_features, self.detach_encoder_input = detach_features, detach_encoder_input
        self.detach_depth, self.mask_padding, self.checkpointing = detach_depth, mask_padding, checkpointing
        self.extractor = DepthExtractor(channels, len(self.levels), share_coarse)
        self.head = nn.Conv2d(channels, self.bins.num_bins + 1, 1)
        self.encoder = nn.ModuleList(
            PostNormLayer(channels, num_heads, ffn_dim or channels, dropout) for _ in range(encoder_layers)
        )
        self.position = nn.Embedding(self.bins.num_positions, channels)
        self.cross = nn.ModuleList(DepthAttention(channels, num_heads, residual) for _ in range(num_decoder_layers))

    def encode(self, features: Sequence[Tensor], masks: Sequence[Tensor], positions: Sequence[Tensor]) -> DepthState:
        """Predict the depth of the images of a call.

        Args:
            features: Feature maps ``(B, C, h_l, w_l)`` of all levels of the pyramid.
            masks: Boolean masks ``(B, h_l, w_l)`` of all levels, True where padded.
            positions: Position encodings ``(B, C, h_l, w_l)`` of all levels.
        """
        maps = [features[index].detach() if self.detach_features else features[index] for index in self.levels]
        if self.mask_padding:
            maps = [level.masked_fill(masks[index][:, None], 0) for index, level in zip(self.levels, maps, strict=True)]
        padding, position = masks[self.levels[0]], positions[self.levels[0]]
        if self.checkpointing and torch.is_grad_enabled():
            result: DepthState = checkpoint(self._encode, maps, padding, position, use_reentrant=False)
            return result
        return self._encode(maps, padding, position)

    def _encode(self, maps: Sequence[Tensor], padding: Tensor, position: Tensor) -> DepthState:
        dense = self.extractor(maps)
        logits = self.head(dense)
        with torch.autocast(logits.device.type, enabled=False):
            wide = logits if logits.dtype == torch.float64 else logits.float()
            depth = self.bins.expectation(wide.softmax(1))
        x, coarse, hidden = dense, depth, padding
        if self.detach_encoder_input:
            x = x.detach()
        if self.factor > 1:
            x, position = (F.avg_pool2d(one, self.factor, ceil_mode=True) for one in (x, position))
            coarse = F.avg_pool2d(depth[:, None], self.factor, ceil_mode=True)[:, 0]
            hidden = -F.max_pool2d(-padding.to(depth), self.factor, ceil_mode=True) > 0
        key_padding = hidden.flatten(1)
        x, position = x.flatten(2).transpose(1, 2), position.flatten(2).transpose(1, 2).to(x.dtype)
        for layer in self.encoder:
            x = layer(x, position, key_padding)
        if self.detach_depth:
            coarse = coarse.detach()
        memory = x + depth_position(coarse, self.position.weight).flatten(1, 2).to(x.dtype)
        return DepthState(logits, depth, memory, key_padding, padding)

    def attend(self, layer: int, queries: Tensor, state: DepthState) -> Tensor:
        """Let the queries of a decoder layer attend to the depth, between its cross-attention and feed-forward.

        Args:
            layer: Index of the decoder layer.
            queries: Queries in the order of ``layout``.
            state: Result of :meth:`encode` for the same images.
        """
        if self.layout == "QBC":
            queries = queries.transpose(0, 1)
        refined: Tensor = self.cross[layer](queries, state.memory.to(queries.dtype), state.key_padding)
        return refined.transpose(0, 1) if self.layout == "QBC" else refined

    def loss_terms(
        self,
        state: DepthState,
        target: Tensor,
        foreground: Tensor | Sequence[Tensor],
        valid: Tensor | None = None,
        *,
        foreground_weight: float = 7.0,
        smoothing: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the focal losses and the number of pixels; see :meth:`loss`."""
        with torch.autocast(state.depth.device.type, enabled=False):
            values, valid = self._target(state, target, valid)
            if not isinstance(foreground, Tensor):
                foreground = foreground_mask(*pad_boxes(foreground), (values.shape[1], values.shape[2]))
            return depth_loss(
                state.logits, self.bins.bin(values), foreground, valid,
                foreground_weight=foreground_weight, smoothing=smoothing,
            )  # fmt: skip

    @torch.no_grad()
    def depth_error(self, state: DepthState, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the sum of the absolute errors of the predicted depth over the pixels that count in :meth:`loss`."""
        values, valid = self._target(state, target, valid)
        return (state.depth - self.bins.to_depth(values)).abs().where(valid, 0).sum()

    @staticmethod
    def _target(state: DepthState, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Resize depth maps to the size of the prediction, and return them with the pixels that count."""
        size = state.depth.shape[-2:]
        values = F.interpolate(target.to(state.depth), size, mode="bilinear", align_corners=False)[:, 0]
        if valid is None:
            valid = ~_shrunk(state.padding)
        return values, valid & values.isfinite()

    def loss(
        self,
        state: DepthState,
        target: Tensor,
        foreground: Tensor | Sequence[Tensor],
        valid: Tensor | None = None,
        *,
        foreground_weight: float = 7.0,
        smoothing: float = 0.0,
    ) -> Tensor:
        """Compute the depth loss, a weighted mean over pixels (FDTA, Eq. 1); 0 without valid pixels.

        Args:
            state: Result of :meth:`encode`.
            target: Depth maps of shape ``(B, 1, H, W)`` in the unit of the bins; NaN where unknown.
            foreground: Boolean mask of shape ``(B, h, w)``, or the boxes of each image as corners in cells ``(n, 4)``.
            valid: Boolean mask of shape ``(B, h, w)``, pixels that count. None: all cells whose interpolation reads
                no padding.
            foreground_weight: Weight of pixels in objects.
            smoothing: See :func:`fdta_adapters.functional.depth_focal`.
        """
        total, count = self.loss_terms(
            state, target, foreground, valid, foreground_weight=foreground_weight, smoothing=smoothing
        )
        return total / count.clamp(min=1)


def _shrunk(padding: Tensor) -> Tensor:
    """Extend padding by one cell to the left and above: the interpolation of these cells would read padded pixels."""
    wider = padding.clone()
    wider[:, :, :-1] |= padding[:, :, 1:]
    wider[:, :-1] |= padding[:, 1:]
    return wider
