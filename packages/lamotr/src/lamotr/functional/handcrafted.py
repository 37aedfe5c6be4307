"""Hand-crafted association scores, to compare the learned ones with."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from mot_core.boxes import cxcywh_to_xyxy, pairwise_iou

Handcrafted: TypeAlias = Literal["iou", "feature", "combination"]
"""Kind of hand-crafted association score."""


def handcrafted_scores(
    obj_boxes_cxcywh: Tensor,
    tck_boxes_cxcywh: Tensor,
    obj_embed: Tensor,
    tck_embed: Tensor,
    kind: Handcrafted = "combination",
    appearance: float = 0.5,
) -> Tensor:
    r"""Score all pairs by overlap and appearance, as in the comparison of LA-MOTR (ICCV 2025, Table 4).

    .. math::

        S_{ij} = a \max(0, \cos(O^{obj}_i, O^{tck}_j)) + (1 - a) \operatorname{IoU}(B^{obj}_i, B^{tck}_j)

    with ``a = 0`` for "iou" and ``a = 1`` for "feature". The paper does not give the weight of the combination.

    Args:
        obj_boxes_cxcywh: Boxes of the objects of shape ``(..., M, 4)``.
        tck_boxes_cxcywh: Boxes of the tracklets of shape ``(..., K, 4)``.
        obj_embed: Embeddings of the objects of shape ``(..., M, C)``.
        tck_embed: Embeddings of the tracklets of shape ``(..., K, C)``.
        kind: "iou", "feature" or "combination".
        appearance: Weight ``a`` of the appearance in the combination.

    Returns:
        Scores in [0, 1] of shape ``(..., M, K)``.

    Raises:
        ValueError: If ``kind`` is unknown.

    >>> import torch
    >>> box, embed = torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([[1.0, 0.0]])
    >>> handcrafted_scores(box, box + torch.tensor([0.1, 0, 0, 0]), embed, embed).round(decimals=3)
    tensor([[0.6670]])
    """
    if kind not in ("iou", "feature", "combination"):
        raise ValueError(f"kind: expected iou, feature or combination, got {kind!r}")
    share = {"iou": 0.0, "feature": 1.0}.get(kind, appearance)
    overlap = pairwise_iou(cxcywh_to_xyxy(obj_boxes_cxcywh), cxcywh_to_xyxy(tck_boxes_cxcywh))
    cosine = F.normalize(obj_embed, dim=-1) @ F.normalize(tck_embed, dim=-1).transpose(-1, -2)
    scores: Tensor = share * cosine.clamp(0, 1) + (1 - share) * overlap
    return scores
