"""Settings of SGLA, as plain data for configs and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, get_args, get_type_hints

from lamotr.functional.relative import Difference

Attention: TypeAlias = Literal["concat", "obj_queries", "tck_queries"]
"""Tokens that attend to each other."""
EdgeUpdate: TypeAlias = Literal["attention", "logits"]
"""Quantity that updates the association matrix: attention weights, or the logits before their softmax."""
EdgeRead: TypeAlias = Literal["mean", "obj_to_tck", "tck_to_obj"]
"""Direction of the attention that updates the association matrix."""


@dataclass(frozen=True)
class SGLASettings:
    """Settings of :class:`lamotr.SGLA`. The defaults have the size of the paper (LA-MOTR, ICCV 2025).

    Args:
        embed_dim: Channels of the embeddings, a multiple of ``num_heads``.
        num_heads: Heads of every attention layer.
        num_layers: Layers. The paper does not give the number; 4 reproduces its parameter count.
        ffn_dim: Hidden channels of the feed-forward of each layer; 0 for none, as in the paper's formula.
        norm: Whether layers normalize their input. The paper's formula has no normalization.
        attention: "concat": objects and tracklets attend to all tokens, as in the paper. "obj_queries": objects attend
            to tracklets, which stay as they are. "tck_queries": the reverse (Table 5).
        cue: Whether the relative boxes are added to the association matrix (Table 4).
        difference: Form of the relative boxes: "signed", as in the paper, or "scaled" by the box of the tracklet.
        persist_cue: Whether the next layer inherits the cue with the association matrix.
        edge_update: "attention": the weights update the matrix, as in the paper, which makes the scores comparable with
            a threshold. "logits": the values before the softmax.
        edge_read: Weights that update the matrix: "mean" of both directions, "obj_to_tck" for the objects' weights of
            the tracklets, or "tck_to_obj"; without effect unless ``attention`` is "concat".
        detach_boxes: Whether the association has no gradient with respect to the boxes, so that it does not move them.
        zero_init: Whether layers start as the identity on embeddings, so that a trained detector is unchanged at first.
        prior: Initial score of every pair; about the share of true pairs.

    Raises:
        ValueError: If a value is out of range.

    >>> SGLASettings(embed_dim=64, num_layers=2).num_heads
    8
    """

    embed_dim: int = 256
    num_heads: int = 8
    num_layers: int = 4
    ffn_dim: int = 1024
    norm: bool = True
    attention: Attention = "concat"
    cue: bool = True
    difference: Difference = "signed"
    persist_cue: bool = True
    edge_update: EdgeUpdate = "attention"
    edge_read: EdgeRead = "mean"
    detach_boxes: bool = True
    zero_init: bool = False
    prior: float = 0.01

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.embed_dim < 1 or self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim: expected a multiple of num_heads, got {self.embed_dim} for {self.num_heads} heads"
            )
        if self.num_layers < 1 or self.ffn_dim < 0:
            raise ValueError(
                f"num_layers, ffn_dim: expected at least 1 and 0, got {self.num_layers} and {self.ffn_dim}"
            )
        if not 0 < self.prior < 1:
            raise ValueError(f"prior: expected a number between 0 and 1, got {self.prior}")
        kinds = get_type_hints(type(self))
        for field in fields(self):
            known = get_args(kinds[field.name])
            if known and getattr(self, field.name) not in known:
                raise ValueError(f"{field.name}: expected {' or '.join(known)}, got {getattr(self, field.name)!r}")
