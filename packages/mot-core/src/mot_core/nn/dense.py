"""Interface of detectors that predict one box per cell."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class DenseOutput:
    """Predictions of a dense detector for a batch of images.

    Attributes:
        boxes_cxcywh: Boxes as center and size in pixels of the network input, of shape ``(B, A, 4)``.
        logits: Class logits (sigmoid) of shape ``(B, A, K)``.
        embeddings: Embeddings of shape ``(B, A, C)``, or None without an embedding head.
    """

    boxes_cxcywh: Tensor
    logits: Tensor
    embeddings: Tensor | None
