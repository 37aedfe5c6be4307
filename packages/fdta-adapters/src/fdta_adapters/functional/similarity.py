"""Similarity of the embeddings of different objects in a frame, the diagnosis of FDTA."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class InterObjectSimilarity:
    """Cosine similarities between different objects of a frame.

    Attributes:
        similarity: Similarities of all pairs, of shape ``(P,)``.
        histogram: Number of pairs per bin, from -1 to 1.
        mean: Mean similarity; 0 without pairs.
        above: Share of pairs above 0.9; 0 without pairs.
    """

    similarity: Tensor
    histogram: Tensor
    mean: Tensor
    above: Tensor


@torch.no_grad()
def inter_object_similarity(
    embeddings: Tensor, frames: Tensor, *, bins: int = 40, threshold: float = 0.9
) -> InterObjectSimilarity:
    """Compute the cosine similarity of every pair of objects in the same frame (FDTA, Figure 1).

    In DETR-based trackers more than 80 % of the pairs exceed 0.9: embeddings separate objects from background, but
    not from each other.

    Args:
        embeddings: Embeddings of shape ``(N, C)``, one per object and frame.
        frames: Frame of each embedding, of shape ``(N,)``, int64.
        bins: Number of histogram bins from -1 to 1.
        threshold: Similarity above which a pair counts in ``above``.

    >>> embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.0, 2.0]])
    >>> found = inter_object_similarity(embeddings, torch.tensor([0, 0, 0, 1]))
    >>> len(found.similarity), round(found.above.item(), 3)
    (3, 0.333)
    """
    directions = F.normalize(embeddings.detach().float(), dim=-1)
    pairs = (frames[:, None] == frames[None, :]).triu(1)
    similarity = (directions @ directions.t())[pairs].clamp(-1, 1)
    count = max(len(similarity), 1)
    return InterObjectSimilarity(
        similarity,
        torch.histc(similarity.cpu(), bins, -1, 1).long(),
        similarity.sum() / count,
        (similarity > threshold).sum() / count,
    )
