"""Deformable DETR: backbone, encoder, decoder with box refinement, and support for track queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mot_core.nn.backbones.base import Backbone
from mot_core.nn.detr.attention import DeformableAttention
from mot_core.nn.detr.decoder import DecoderHook, DeformableDecoder
from mot_core.nn.detr.encoder import DeformableEncoder
from mot_core.nn.detr.position import sine_position
from mot_core.nn.detr.pyramid import flatten_masks, resize_mask, spatial_shapes, valid_ratios
from mot_core.structures import FeaturePyramid, TrackState


@dataclass(frozen=True, eq=False)
class DetectorOutput:
    """Predictions of every decoder layer for a batch of frames; the last layer holds the final ones.

    Attributes:
        logits: Class logits (sigmoid) of shape ``(layers, B, N, K)``.
        boxes_cxcywh: Boxes in [0, 1] of shape ``(layers, B, N, 4)``.
        hidden: Embeddings of shape ``(layers, B, N, C)``.
        references: Per layer, the centers ``(B, N, 2)`` or boxes ``(B, N, 4)`` that its head refined.
    """

    logits: Tensor
    boxes_cxcywh: Tensor
    hidden: Tensor
    references: list[Tensor]


class DeformableDETR(nn.Module):
    """Single-stage Deformable DETR with iterative box refinement (Zhu et al., ICLR 2021, arXiv:2010.04159).

    The parts can be called separately: :meth:`features`, :meth:`encode` and :meth:`decode`. Outputs and gradients
    equal those of the released detectors of MOTIP, MOTR and, with ``dab``, MeMOTR (see docs/parity.md).

    Args:
        backbone: Backbone that maps images to feature maps.
        num_classes: Number ``K`` of columns of the logits, without a background column.
        num_queries: Number of learned object queries.
        embed_dim: Number of channels ``C``, a multiple of 32 and of ``num_heads``.
        num_heads: Number of heads of every attention.
        num_encoder_layers: Number of encoder layers.
        num_decoder_layers: Number of decoder layers.
        ffn_dim: Number of hidden channels of the feed-forwards.
        num_levels: Number of levels of the pyramid; levels beyond the backbone's come from convolutions of stride 2.
        num_points: Number of points per head and level.
        dropout: Dropout probability in encoder and decoder.
        track_attention: Whether track queries first attend to each other in every decoder layer (MOTR).
        dab: Whether queries are a content and a learned anchor box instead of a content and a position
            (DAB-Deformable-DETR, Liu et al., ICLR 2022, arXiv:2201.12329). Implies the position encodings of that
            detector, with a temperature of 20.
        merge_layer: First decoder layer with tracks; see :class:`mot_core.nn.DeformableDecoder`.
        num_frames: Number of frames to which the decoder attends; see :class:`mot_core.nn.MultiFrameDETR`.

    >>> from mot_core.nn import SmallBackbone
    >>> detector = DeformableDETR(SmallBackbone(), num_queries=5, embed_dim=32, ffn_dim=32, num_levels=3,
    ...     num_encoder_layers=1, num_decoder_layers=2)
    >>> output = detector(torch.zeros(2, 3, 64, 96))
    >>> output.boxes_cxcywh.shape, output.hidden.shape
    (torch.Size([2, 2, 5, 4]), torch.Size([2, 2, 5, 32]))
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int = 1,
        num_queries: int = 300,
        embed_dim: int = 256,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        ffn_dim: int = 1024,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.0,
        track_attention: bool = False,
        dab: bool = False,
        merge_layer: int = 0,
        num_frames: int = 1,
    ) -> None:
        super().__init__()
        if embed_dim % 32:
            raise ValueError(f"embed_dim must be a multiple of 32 (groups of the norms), got {embed_dim}")
        if num_levels < len(backbone.channels):
            raise ValueError(f"num_levels must be at least {len(backbone.channels)}, one per map of the backbone")
        self.embed_dim, self.num_classes, self.num_queries = embed_dim, num_classes, num_queries
        extra = num_levels - len(backbone.channels)
        self.strides = (*backbone.strides, *(backbone.strides[-1] * 2 ** (i + 1) for i in range(extra)))
        self.backbone = backbone
        self.projections = nn.ModuleList(_projection(channels, embed_dim, 1) for channels in backbone.channels)
        for index in range(extra):
            self.projections.append(_projection(embed_dim if index else backbone.channels[-1], embed_dim, 3))
        self.encoder = DeformableEncoder(
            num_encoder_layers, embed_dim, num_heads, ffn_dim, num_levels, num_points, dropout, num_frames
        )
        self.decoder = DeformableDecoder(
            num_decoder_layers, embed_dim, num_heads, ffn_dim, num_frames * num_levels, num_points, dropout,
            track_attention, dab, merge_layer,
        )  # fmt: skip
        self.temperature = 20.0 if dab else 10_000.0
        self.query_embed = nn.Embedding(num_queries, embed_dim if dab else 2 * embed_dim)
        self.anchors = nn.Embedding(num_queries, 4) if dab else None
        self.reference_points = None if dab else nn.Linear(embed_dim, 2)
        heads = [nn.Linear(embed_dim, num_classes) for _ in range(num_decoder_layers)]
        for head in heads:
            nn.init.constant_(head.bias, -math.log(99))  # initial probability 1 %, so that background does not dominate
        self.class_heads = nn.ModuleList(heads)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize the matrices of the transformer with Xavier uniform, as in the official code.

        Anchors are spread over the image, with a size of 12 % of it: without pretrained weights, the detector learns
        faster than from normally distributed logits, whose boxes are larger and concentrated in the center.
        """
        for parameter in [*self.encoder.layers.parameters(), *self.decoder.layers.parameters()]:
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        if self.reference_points is not None:
            nn.init.xavier_uniform_(self.reference_points.weight)
            nn.init.zeros_(self.reference_points.bias)
        if self.anchors is not None:
            with torch.no_grad():
                self.anchors.weight[:, :2] = torch.rand_like(self.anchors.weight[:, :2]).logit(eps=0.05)
                self.anchors.weight[:, 2:] = -2.0

    @property
    def dab(self) -> bool:
        """Whether queries are contents with anchor boxes."""
        return self.anchors is not None

    def features(self, images: Tensor, padding_mask: Tensor | None = None) -> FeaturePyramid:
        """Map images to the feature pyramid that encoder and plug-ins receive.

        Args:
            images: Normalized images of shape ``(B, 3, H, W)``; the values of padded pixels have no effect.
            padding_mask: Boolean mask of shape ``(B, H, W)``, True where the image is padding. None means no padding.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, H, W), got {tuple(images.shape)}")
        if padding_mask is None:
            padding_mask = images.new_zeros((images.shape[0], *images.shape[2:]), dtype=torch.bool)
        elif padding_mask.shape != (images.shape[0], *images.shape[2:]):
            expected = (images.shape[0], *images.shape[2:])
            raise ValueError(f"padding_mask must have shape (B, H, W) = {expected}, got {tuple(padding_mask.shape)}")
        maps = self.backbone(images.masked_fill(padding_mask[:, None], 0))
        levels = [project(level) for project, level in zip(self.projections, maps, strict=False)]
        last = maps[-1]
        for project in self.projections[len(maps) :]:
            last = project(last)
            levels.append(last)
        masks = [resize_mask(padding_mask, size) for size in spatial_shapes(levels)]
        return FeaturePyramid(tuple(levels), tuple(masks), self._positions(masks))

    def _positions(self, masks: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the position encodings of all levels."""
        return tuple(sine_position(mask, self.embed_dim, self.temperature) for mask in masks)

    def encode(self, pyramid: FeaturePyramid) -> Tensor:
        """Return the memory ``(B, S, C)`` of a pyramid, with all levels concatenated."""
        return self.encoder(pyramid)

    def decode(
        self,
        pyramid: FeaturePyramid,
        memory: Tensor,
        tracks: TrackState | None = None,
        on_decoder_layer: DecoderHook | None = None,
    ) -> DetectorOutput:
        """Decode objects, and tracks if given.

        Args:
            pyramid: Output of :meth:`features`, for its masks and sizes.
            memory: Output of :meth:`encode`, of shape ``(B, S, C)``.
            tracks: Tracks with ``queries (B, M, 2C)`` (position, then content) and ``ref_logits (B, M, 2)``; with
                ``dab``, ``queries (B, M, C)`` and ``ref_logits (B, M, 4)``. They occupy the slots after the
                ``num_queries`` objects; no other query attends to them where ``valid`` is False.
            on_decoder_layer: Function ``(layer, queries) -> queries``, called in every layer after the norm of the
                cross-attention and before the feed-forward; layers below ``merge_layer`` pass only the objects.
        """
        batch = memory.shape[0]
        queries = self.query_embed.weight.expand(batch, -1, -1)
        references = self._references().sigmoid().expand(batch, -1, -1)
        valid = None
        if tracks is not None:
            if tracks.queries is None or tracks.ref_logits is None:
                raise ValueError("tracks must have queries and ref_logits to be decoded")
            queries = torch.cat([queries, tracks.queries], 1)
            references = torch.cat([references, tracks.ref_logits.sigmoid()], 1)
            valid = torch.cat([tracks.valid.new_ones(batch, self.num_queries), tracks.valid], 1)
        positions, content = (None, queries) if self.dab else queries.chunk(2, -1)
        decoded = self.decoder(
            content,
            positions,
            references,
            memory,
            spatial_shapes(pyramid.levels),
            valid_ratios(pyramid.masks),
            flatten_masks(pyramid.masks),
            valid,
            self.num_queries,
            on_decoder_layer,
        )
        logits = [head(hidden) for head, hidden in zip(self.class_heads, decoded.hidden, strict=True)]
        return DetectorOutput(
            torch.stack(logits), torch.stack(decoded.boxes_cxcywh), torch.stack(decoded.hidden), decoded.references
        )

    def _references(self) -> Tensor:
        """Return the logits of the references of the learned queries, ``(N, 2)`` or ``(N, 4)``."""
        if self.anchors is not None:
            return self.anchors.weight
        points: Tensor = self.reference_points(self.query_embed.weight[:, : self.embed_dim])  # type: ignore[misc]
        return points

    def forward(
        self,
        images: Tensor,
        padding_mask: Tensor | None = None,
        tracks: TrackState | None = None,
        on_features: Callable[[FeaturePyramid], FeaturePyramid] | None = None,
        on_decoder_layer: DecoderHook | None = None,
    ) -> DetectorOutput:
        """Run :meth:`features`, ``on_features``, :meth:`encode` and :meth:`decode` in one call."""
        pyramid = self.features(images, padding_mask)
        if on_features is not None:
            pyramid = on_features(pyramid)
        return self.decode(pyramid, self.encode(pyramid), tracks, on_decoder_layer)


def _projection(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """Return a convolution to the width of the transformer; a kernel of size 3 halves the map."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride=1 if kernel == 1 else 2, padding=kernel // 2)
    nn.init.xavier_uniform_(convolution.weight)
    return nn.Sequential(convolution, nn.GroupNorm(32, out_channels))
