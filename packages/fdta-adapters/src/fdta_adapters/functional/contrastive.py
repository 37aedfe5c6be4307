"""Quality-aware contrastive loss between the embeddings of identities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Weighting = Literal["harmonic", "none"]
Reduction = Literal["pair", "anchor"]


@dataclass(frozen=True, eq=False)
class IdentityOutput:
    """Contrastive loss of a set of embeddings, and numbers to watch.

    Attributes:
        loss: Loss, a scalar with gradient.
        num_kept: Number of embeddings of sufficient quality.
        num_pairs: Number of ordered pairs of one identity.
        mean_pos_sim: Mean cosine similarity of pairs of one identity; 0 without pairs.
        mean_neg_sim: Mean cosine similarity of pairs of different identities; 0 without pairs.
    """

    loss: Tensor
    num_kept: Tensor
    num_pairs: Tensor
    mean_pos_sim: Tensor
    mean_neg_sim: Tensor


def pair_quality(quality: Tensor, weighting: Weighting = "harmonic") -> Tensor:
    """Return the weight of each pair: the harmonic mean of both qualities (FDTA, Eq. 6), or 1.

    Args:
        quality: Qualities of shape ``(N,)``, positive for "harmonic".
        weighting: "harmonic" or "none".

    >>> pair_quality(torch.tensor([1.0, 0.5]))
    tensor([[1.0000, 0.6667],
            [0.6667, 0.5000]])
    """
    if weighting == "none":
        return torch.ones(len(quality), len(quality), dtype=quality.dtype, device=quality.device)
    one, other = quality[:, None], quality[None, :]
    return 2 * one * other / (one + other)


def identity_contrastive(
    features: Tensor,
    ids: Tensor,
    quality: Tensor,
    source: Tensor | None = None,
    *,
    tau: float = 0.1,
    min_quality: float = 0.5,
    weighting: Weighting = "harmonic",
    reduction: Reduction = "pair",
    scale_by_tau: bool = False,
) -> IdentityOutput:
    """Pull embeddings of one identity together and push those of different identities apart (FDTA, Eq. 5 to 8).

    For an anchor ``a``, a positive ``b`` and the negatives ``n`` of the anchor, with cosine similarities ``s``::

        loss_ab = log(exp(s_ab / tau) + sum_n exp(s_an / tau)) - s_ab / tau = -log sigmoid(s_ab / tau - L_a)
        L_a = log sum_n exp(s_an / tau)

    Other positives are not negatives. Pairs in different clips of one video are neither, because the same object may
    have two identities in them. ``L_a`` is computed once per anchor, so memory is ``N x N`` instead of pairs x
    ``N``. Computed in at least float32.

    Args:
        features: Embeddings of shape ``(N, C)``; normalized here.
        ids: Identities of shape ``(N,)``, int64, unique across clips; rows with -1 are ignored.
        quality: Overlap of each box with its object, of shape ``(N,)``.
        source: Number of the clip and of the video of each embedding, of shape ``(N, 2)``, int64. None: all pairs are
            compared.
        tau: Temperature; lower values concentrate on the hardest negatives.
        min_quality: Rows below are ignored.
        weighting: Weight of a pair: "harmonic" mean of both qualities, or "none".
        reduction: "pair": mean over all pairs, as in the paper. "anchor": mean over anchors of the mean over their
            positives, as in the released code.
        scale_by_tau: Multiply the loss by ``tau``, as in the released code.

    >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> output = identity_contrastive(features, torch.tensor([0, 0, 1, 1]), torch.ones(4), tau=1.0)
    >>> output.num_pairs.item(), round(output.loss.item(), 4)  # log(e + 2) - 1
    (4, 0.5514)
    """
    if features.dtype != torch.float64:
        features = features.float()
    kept = (quality >= min_quality) & (ids >= 0)
    features, ids, quality = features[kept], ids[kept], quality[kept].to(features)
    cosine = F.normalize(features, dim=-1) @ F.normalize(features, dim=-1).t()
    scores = cosine / tau
    same = ids[:, None] == ids[None, :]
    positive = same & ~torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    negative = ~same
    if source is not None:
        clip, video = (source[kept, :, None] == source[kept].t()).unbind(1)
        positive, negative = positive & (clip | ~video), negative & (clip | ~video)
    # Rows without negatives have loss 0. Their sum must not be empty, whose gradient would be NaN.
    alone = ~negative.any(1, keepdim=True)
    hardness = scores.masked_fill(~negative & ~alone, -torch.inf).logsumexp(1, keepdim=True)
    loss = -F.logsigmoid((scores - hardness).masked_fill(alone, torch.inf))
    loss = (pair_quality(quality, weighting) * loss).where(positive, 0)
    counts = positive.sum(1)
    if reduction == "pair":
        mean = loss.sum() / counts.sum().clamp(min=1)
    else:
        mean = (loss.sum(1) / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
    seen = cosine.detach()
    return IdentityOutput(
        loss=mean * tau if scale_by_tau else mean,
        num_kept=kept.sum(),
        num_pairs=counts.sum(),
        mean_pos_sim=_mean(seen, positive),
        mean_neg_sim=_mean(seen, negative),
    )


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return values.where(mask, 0).sum() / mask.sum().clamp(min=1)
