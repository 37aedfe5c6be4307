"""Spatial-guided learnable association: scores of all pairs of objects and tracklets in a frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamotr.functional.relative import Difference, relative_boxes
from lamotr.modules.attention import SpatialWeightedAttention
from lamotr.modules.settings import SGLASettings
from mot_core.nn import MLP, refine_boxes

BoxHead = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class SGLAOutput:
    """Result of :class:`SGLA` for ``M`` objects and ``K`` tracklets. Padding is 0.

    Attributes:
        obj_embed: Embeddings of the objects of shape ``(B, M, C)``.
        tck_embed: Embeddings of the tracklets of shape ``(B, K, C)``.
        score_logits: Logits of the association scores of shape ``(B, M, K)``.
        edges: Association matrix of shape ``(B, M, K, C)``.
        boxes: Boxes of objects, then tracklets, before every layer and after the last one, each ``(B, M + K, 4)``. The
            last ones have a gradient; the others have none if the settings detach the boxes.
    """

    obj_embed: Tensor
    tck_embed: Tensor
    score_logits: Tensor
    edges: Tensor
    boxes: list[Tensor]


class RelativeBoxEncoding(nn.Module):
    """Embedding of the relative boxes of all pairs, by a perceptron with one hidden layer.

    Args:
        embed_dim: Channels of the embedding.
        difference: "signed" or "scaled"; see :func:`lamotr.relative_boxes`.

    >>> RelativeBoxEncoding(8)(torch.rand(1, 3, 4), torch.rand(1, 2, 4)).shape
    torch.Size([1, 3, 2, 8])
    """

    def __init__(self, embed_dim: int = 256, difference: Difference = "signed") -> None:
        super().__init__()
        self.difference = difference
        self.mlp = MLP(4, embed_dim, embed_dim, 2)

    def forward(self, objects_cxcywh: Tensor, tracklets_cxcywh: Tensor) -> Tensor:
        """Map boxes ``(B, M, 4)`` and ``(B, K, 4)`` to ``(B, M, K, C)``."""
        weight = self.mlp.layers[0].get_parameter("weight")
        return self.mlp(relative_boxes(objects_cxcywh, tracklets_cxcywh, self.difference).to(weight.dtype))


class AssociationHead(nn.Module):
    """Score logit of every pair from the association matrix, by a perceptron with one hidden layer.

    Args:
        embed_dim: Channels of the association matrix.
        prior: Initial score.

    >>> head = AssociationHead(8, prior=0.5)
    >>> head(torch.zeros(1, 3, 2, 8)).shape
    torch.Size([1, 3, 2])
    """

    def __init__(self, embed_dim: int = 256, prior: float = 0.01) -> None:
        super().__init__()
        self.mlp = MLP(embed_dim, embed_dim, 1, 2)
        nn.init.constant_(self.mlp.layers[-1].get_parameter("bias"), math.log(prior / (1 - prior)))

    def forward(self, edges: Tensor) -> Tensor:
        """Map ``(B, M, K, C)`` to logits ``(B, M, K)`` in at least float32."""
        logits = self.mlp(edges).squeeze(-1)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


class SGLA(nn.Module):
    """Spatial-guided learnable association (LA-MOTR, ICCV 2025, Section 3.2).

    Every layer encodes the boxes of all pairs relative to each other, adds them to the association matrix, attends over
    objects and tracklets with that matrix as bias, and updates the matrix by the attention weights. A perceptron
    reads the score of each pair from the final matrix. It needs no detector: any embeddings and boxes of one frame do.

    Args:
        settings: Sizes and variant; the paper's by default, with 3,247,649 parameters.

    >>> sgla = SGLA(SGLASettings(embed_dim=16, num_heads=2, num_layers=2, ffn_dim=32))
    >>> objects, tracklets = torch.rand(1, 3, 4), torch.rand(1, 2, 4)
    >>> output = sgla(torch.randn(1, 3, 16), torch.randn(1, 2, 16), objects, tracklets)
    >>> output.score_logits.sigmoid().shape
    torch.Size([1, 3, 2])
    """

    def __init__(self, settings: SGLASettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or SGLASettings()
        numbers = range(settings.num_layers)
        self.encodings = nn.ModuleList(
            RelativeBoxEncoding(settings.embed_dim, settings.difference) for _ in numbers if settings.cue
        )
        self.layers = nn.ModuleList(SpatialWeightedAttention(settings) for _ in numbers)
        self.head = AssociationHead(settings.embed_dim, settings.prior)

    # Typed for the caller: nn.Module would return Any.
    __call__: Callable[..., SGLAOutput]

    def forward(
        self,
        obj_embed: Tensor,
        tck_embed: Tensor,
        obj_ref: Tensor,
        tck_ref: Tensor,
        obj_pad: Tensor | None = None,
        tck_pad: Tensor | None = None,
        box_head: BoxHead | None = None,
    ) -> SGLAOutput:
        """Associate the objects of a frame with tracklets.

        Args:
            obj_embed: Embeddings of the objects of shape ``(B, M, C)``.
            tck_embed: Embeddings of the tracklets of shape ``(B, K, C)``; ``K`` may be 0.
            obj_ref: Boxes (cx, cy, w, h) of the objects in the current frame, of shape ``(B, M, 4)``. With a box head,
                the reference boxes in [0, 1] that its offsets refer to.
            tck_ref: Boxes or references of the tracklets in the current frame, of shape ``(B, K, 4)``.
            obj_pad: Boolean mask of shape ``(B, M)``, True for padding. None means no padding.
            tck_pad: Boolean mask of shape ``(B, K)``, True for padding. None means no padding.
            box_head: Box head of the detector, ``(..., C)`` to offsets ``(..., 4)`` in logits. The boxes then follow
                the embeddings from layer to layer. Its parameters stay those of the detector. None: the boxes are the
                references in every layer, and may have any unit.

        Raises:
            ValueError: If the shapes do not match.
        """
        _check(self.settings.embed_dim, obj_embed, tck_embed, obj_ref, tck_ref, obj_pad, tck_pad)
        objects = obj_embed.shape[1]
        padding = None
        if obj_pad is not None or tck_pad is not None:
            pads = [_mask(*pair) for pair in ((obj_embed, obj_pad), (tck_embed, tck_pad))]
            padding = torch.cat(pads, 1)
        tokens, references = torch.cat([obj_embed, tck_embed], 1), torch.cat([obj_ref, tck_ref], 1)
        references = references.to(torch.promote_types(references.dtype, torch.float32))
        if padding is not None:  # padding may contain NaN
            tokens = tokens.masked_fill(padding[..., None], 0)
            references = references.masked_fill(padding[..., None], 0.5)
        boxes = []
        edges = tokens.new_zeros(*obj_embed.shape[:2], *tck_embed.shape[1:])
        for index, layer in enumerate(self.layers):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.settings.detach_boxes):
                boxes.append(_refine(box_head, tokens, references))
            cued = edges
            if self.settings.cue:
                cued = edges + self.encodings[index](boxes[-1][:, :objects], boxes[-1][:, objects:])
            tokens, update = layer(tokens, cued, padding)
            edges = (cued if self.settings.persist_cue else edges) + update
        boxes.append(_refine(box_head, tokens, references))
        scores = self.head(edges)
        if padding is not None:
            unseen = padding[:, :objects, None] | padding[:, None, objects:]
            edges, scores = edges.masked_fill(unseen[..., None], 0), scores.masked_fill(unseen, 0)
        return SGLAOutput(tokens[:, :objects], tokens[:, objects:], scores, edges, boxes)


def _refine(box_head: BoxHead | None, tokens: Tensor, references: Tensor) -> Tensor:
    return references if box_head is None else refine_boxes(box_head(tokens).to(references.dtype), references)


def _mask(embed: Tensor, pad: Tensor | None) -> Tensor:
    return torch.zeros(embed.shape[:2], dtype=torch.bool, device=embed.device) if pad is None else pad


def _check(
    channels: int,
    obj_embed: Tensor,
    tck_embed: Tensor,
    obj_ref: Tensor,
    tck_ref: Tensor,
    obj_pad: Tensor | None,
    tck_pad: Tensor | None,
) -> None:
    for name, embed, ref, pad in (("obj", obj_embed, obj_ref, obj_pad), ("tck", tck_embed, tck_ref, tck_pad)):
        if embed.ndim != 3 or embed.shape[-1] != channels:
            raise ValueError(f"{name}_embed: expected shape (B, N, {channels}), got {tuple(embed.shape)}")
        if tuple(ref.shape) != (*embed.shape[:2], 4):
            raise ValueError(f"{name}_ref: expected shape {(*embed.shape[:2], 4)}, got {tuple(ref.shape)}")
        if pad is not None and (pad.shape != embed.shape[:2] or pad.dtype != torch.bool):
            raise ValueError(
                f"{name}_pad: expected a bool tensor of shape {tuple(embed.shape[:2])}, got {pad.dtype} of shape "
                f"{tuple(pad.shape)}"
            )
    if obj_embed.shape[0] != tck_embed.shape[0]:
        raise ValueError(
            f"tck_embed: expected the batch size {obj_embed.shape[0]} of obj_embed, got {tck_embed.shape[0]}"
        )
