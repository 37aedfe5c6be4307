"""Decoder of Deformable DETR: queries attend to the memory near their boxes and refine the boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mot_core.nn.attention import attend
from mot_core.nn.detr.anchors import AnchorPosition
from mot_core.nn.detr.attention import DeformableAttention
from mot_core.nn.mlp import MLP, FeedForward

DecoderHook = Callable[[int, Tensor], Tensor]
"""``(layer, queries (B, N, C)) -> queries``, called after the norm of the cross-attention, before the feed-forward.

Layers below ``merge_layer`` pass only the object queries.
"""


@dataclass(frozen=True, eq=False)
class DecodedQueries:
    """Outputs of the decoder, with one entry per layer in every list.

    Attributes:
        hidden: Outputs of the layer, of shape ``(B, N, C)``.
        boxes_cxcywh: Boxes after the layer, of shape ``(B, N, 4)``, with gradient.
        references: Centers ``(B, N, 2)`` or boxes ``(B, N, 4)`` in [0, 1] that entered the layer and to which its box
            head adds; without gradient after the first layer, except those of tracks up to ``merge_layer``.
    """

    hidden: list[Tensor]
    boxes_cxcywh: list[Tensor]
    references: list[Tensor]


class DeformableDecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention to the memory and feed-forward, each with residual and post-norm.

    Args:
        embed_dim: Number of channels.
        num_heads: Number of heads of both attentions.
        ffn_dim: Number of hidden channels of the feed-forward.
        num_levels: Number of levels of the pyramid.
        num_points: Number of points per head and level.
        dropout: Dropout probability.
        track_attention: Whether track queries first attend to each other (MOTR's "extra track attention").

    >>> layer = DeformableDecoderLayer(embed_dim=8, num_heads=2, ffn_dim=16, num_levels=1)
    >>> queries, memory = torch.zeros(1, 5, 8), torch.zeros(1, 6, 8)
    >>> layer(queries, queries, torch.full((1, 5, 1, 2), 0.5), memory, [(2, 3)]).shape
    torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 1024,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.0,
        track_attention: bool = False,
    ) -> None:
        super().__init__()
        self.track_attn: nn.MultiheadAttention | None = None
        if track_attention:
            self.track_attn = nn.MultiheadAttention(embed_dim, num_heads, dropout, batch_first=True)
            self.track_attn_norm = nn.LayerNorm(embed_dim)
        self.self_attn = nn.MultiheadAttention(embed_dim, num_heads, dropout, batch_first=True)
        self.self_attn_norm = nn.LayerNorm(embed_dim)
        self.cross_attn = DeformableAttention(embed_dim, num_levels, num_heads, num_points)
        self.cross_attn_norm = nn.LayerNorm(embed_dim)
        self.ffn = FeedForward(embed_dim, ffn_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Tensor,
        query_positions: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding_mask: Tensor | None = None,
        valid: Tensor | None = None,
        num_objects: int | None = None,
        hook: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Refine the queries.

        Args:
            queries: Queries of shape ``(B, N, C)``.
            query_positions: Position encodings of shape ``(B, N, C)``, added to queries and keys but not to values.
            references: Points ``(B, N, L, 2)`` or boxes ``(B, N, L, 4)`` as fractions of each level's map.
            memory: Encoder output of shape ``(B, S, C)``.
            shapes: (height, width) of every level.
            padding_mask: Boolean mask of shape ``(B, S)``, True where the memory is padding.
            valid: Boolean mask of shape ``(B, N)``, False for padded queries, which no other query attends to. None
                means all are valid.
            num_objects: Number of leading queries that are not tracks. None means all.
            hook: Function applied to the queries after the norm of the cross-attention; its result replaces them.

        Returns:
            Refined queries of shape ``(B, N, C)``.
        """
        start = queries.shape[1] if num_objects is None else num_objects
        if self.track_attn is not None and start < queries.shape[1]:
            tracks = attend(self.track_attn, queries[:, start:], query_positions[:, start:], _rows(valid, start))
            tracks = self.track_attn_norm(queries[:, start:] + self.dropout(tracks))
            queries = torch.cat([queries[:, :start], tracks], 1)
        attended = attend(self.self_attn, queries, query_positions, valid)
        queries = self.self_attn_norm(queries + self.dropout(attended))
        attended = self.cross_attn(queries + query_positions, references, memory, shapes, padding_mask)
        queries = self.cross_attn_norm(queries + self.dropout(attended))
        if hook is not None:
            queries = hook(queries)
        return self.ffn(queries)


class DeformableDecoder(nn.Module):
    """Stack of decoder layers, each followed by a head that refines the boxes.

    The boxes of a layer are the references of the next, without gradient (iterative bounding box refinement, Zhu et
    al. 2021, arXiv:2010.04159, appendix A.4). With ``dab``, references are boxes from the start, and every layer
    derives the positions of the queries from them; see :class:`mot_core.nn.AnchorPosition`.

    Args:
        num_layers: Number of layers.
        embed_dim: Number of channels.
        num_heads: Number of heads of the attentions.
        ffn_dim: Number of hidden channels of the feed-forward.
        num_levels: Number of levels of the pyramid.
        num_points: Number of points per head and level.
        dropout: Dropout probability.
        track_attention: Whether track queries first attend to each other; see :class:`DeformableDecoderLayer`.
        dab: Whether positions follow the references from layer to layer.
        merge_layer: First layer that decodes tracks. In earlier layers, tracks pass unchanged and objects do not attend
            to them (MeMOTR, Gao and Wang, ICCV 2023, arXiv:2307.15700, section 3.2). Needs ``dab`` if above 0.

    >>> decoder = DeformableDecoder(num_layers=2, embed_dim=8, num_heads=2, ffn_dim=16, num_levels=1)
    >>> queries, memory = torch.zeros(1, 5, 8), torch.zeros(1, 6, 8)
    >>> decoded = decoder(queries, queries, torch.full((1, 5, 2), 0.5), memory, [(2, 3)], torch.ones(1, 1, 2))
    >>> [tuple(references.shape) for references in decoded.references]
    [(1, 5, 2), (1, 5, 4)]
    """

    def __init__(
        self,
        num_layers: int = 6,
        embed_dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 1024,
        num_levels: int = 4,
        num_points: int = 4,
        dropout: float = 0.0,
        track_attention: bool = False,
        dab: bool = False,
        merge_layer: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= merge_layer < num_layers:
            raise ValueError(f"merge_layer: expected 0 to {num_layers - 1}, a layer of the decoder, got {merge_layer}")
        if merge_layer and not dab:
            raise ValueError(f"merge_layer: expected 0 without dab, because centers have no size, got {merge_layer}")
        self.merge_layer = merge_layer
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(embed_dim, num_heads, ffn_dim, num_levels, num_points, dropout, track_attention)
            for _ in range(num_layers)
        )
        self.anchor_position = AnchorPosition(embed_dim) if dab else None
        # No refinement initially: boxes lie at their references. Centers get a size of sigmoid(-2) = 12 % of the image.
        self.box_heads = nn.ModuleList(
            _box_head(embed_dim, size_logit=-2.0 if layer == 0 and not dab else 0.0) for layer in range(num_layers)
        )

    def forward(
        self,
        queries: Tensor,
        query_positions: Tensor | None,
        references: Tensor,
        memory: Tensor,
        shapes: Sequence[tuple[int, int]],
        ratios: Tensor,
        padding_mask: Tensor | None = None,
        valid: Tensor | None = None,
        num_objects: int | None = None,
        hook: DecoderHook | None = None,
    ) -> DecodedQueries:
        """Decode the queries.

        Args:
            queries: Queries of shape ``(B, N, C)``; objects first, then tracks.
            query_positions: Position encodings of shape ``(B, N, C)``; unused with ``dab``.
            references: Centers ``(B, N, 2)`` or boxes ``(B, N, 4)`` (cx, cy, w, h) in [0, 1] of the image.
            memory: Encoder output of shape ``(B, S, C)``.
            shapes: (height, width) of every level.
            ratios: Valid ratios of shape ``(B, L, 2)``; see :func:`mot_core.nn.detr.pyramid.valid_ratios`.
            padding_mask: Boolean mask of shape ``(B, S)``, True where the memory is padding.
            valid: Boolean mask of shape ``(B, N)``, False for padded queries.
            num_objects: Number of leading queries that are not tracks. None means all.
            hook: Function called in every layer; see :data:`DecoderHook`.

        Returns:
            Outputs of every layer. For tracks in layers below ``merge_layer`` they come from the undecoded queries.
        """
        decoded = DecodedQueries([], [], [])
        scale = torch.cat([ratios, ratios], -1)[:, None]
        for index, (layer, head) in enumerate(zip(self.layers, self.box_heads, strict=True)):
            count = num_objects if index < self.merge_layer else None  # of decoded queries; None for all
            content, anchors = queries[:, :count], references[:, :count]
            if self.anchor_position is not None:
                # Positions and sampling both refer to the padded image.
                positions = self.anchor_position(anchors * scale[:, :, 0], content if index else None)
            elif query_positions is not None:
                positions = query_positions
            else:
                raise ValueError("query_positions: expected a tensor (B, N, C) without dab, got None")
            content = layer(
                content,
                positions,
                anchors[:, :, None] * scale[..., : references.shape[-1]],
                memory,
                shapes,
                padding_mask,
                None if valid is None else valid[:, :count],
                num_objects,
                None if hook is None else _Bound(hook, index),
            )
            queries = content if count is None else torch.cat([content, queries[:, count:]], 1)
            boxes = refine_boxes(head(queries), references)
            decoded.hidden.append(queries)
            decoded.references.append(references)
            decoded.boxes_cxcywh.append(boxes)
            refined = boxes.detach()
            references = refined if count is None else torch.cat([refined[:, :count], references[:, count:]], 1)
        return decoded


def refine_boxes(offsets: Tensor, references: Tensor) -> Tensor:
    """Shift boxes by ``offsets (..., 4)`` in logits; a reference ``(..., 2)`` has a center only.

    >>> refine_boxes(torch.zeros(1, 4), torch.tensor([[0.3, 0.4]])).tolist()
    [[0.30000001192092896, 0.4000000059604645, 0.5, 0.5]]
    """
    logits = inverse_sigmoid(references)
    if references.shape[-1] == 2:
        logits = torch.cat([logits, torch.zeros_like(logits)], -1)
    return (offsets + logits).sigmoid()


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Logit of ``x`` in [0, 1], finite at the ends.

    >>> inverse_sigmoid(torch.tensor([0.5, 1.0])).tolist()
    [0.0, 11.512925148010254]
    """
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def _box_head(embed_dim: int, size_logit: float) -> MLP:
    head = MLP(embed_dim, embed_dim, 4, 3)
    last = head.layers[-1]
    nn.init.zeros_(last.get_parameter("weight"))
    with torch.no_grad():
        last.get_parameter("bias").copy_(torch.tensor([0.0, 0.0, size_logit, size_logit]))
    return head


@dataclass(frozen=True)
class _Bound:
    """A decoder hook bound to the index of a layer."""

    hook: DecoderHook
    layer: int

    def __call__(self, queries: Tensor) -> Tensor:
        result = self.hook(self.layer, queries)
        if result.shape != queries.shape:
            raise ValueError(
                f"the hook of decoder layer {self.layer} must return queries of shape {tuple(queries.shape)}, "
                f"got {tuple(result.shape)}"
            )
        return result


def _rows(valid: Tensor | None, start: int) -> Tensor | None:
    return None if valid is None else valid[:, start:]
