"""Identity flow between all frames of a clip, and the odds of place that it is relative to."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import IMPOSSIBLE
from unitrack_loss.settings import Settings

LIMIT = 8.0  # of the log-odds of place, so that no distance makes an identity impossible
FEW = 8  # pairs of one gap below which its variance is taken from all gaps
GAPS = 64  # minimum number of counted gaps, so that processes with clips of different lengths add equal shapes


@dataclass(frozen=True, eq=False)
class IdentitySums:
    """Sums over the (detection, other frame) pairs of every clip, ``(B,)`` each.

    Attributes:
        total: Sum of ``-log p`` of the targets.
        count: Number of pairs.
        right: Number of pairs whose target has the largest probability.
    """

    total: Tensor
    count: Tensor
    right: Tensor


def identity_sums(clip: TrackClip, settings: Settings) -> IdentitySums:
    """Sum the negative log-probability that each detection finds its identity in every other frame.

    For a detection ``i`` with an identity in frame ``s`` and another frame ``t`` of the clip::

        a[i, j] = cos(e[i], e[j]) / tau + omega[i, j]
        p[i, j] = exp(a[i, j]) / (exp(z) + sum_k exp(a[i, k]) + sum_r exp(cos(e[i], e[r]) / tau))

    where ``k`` are the detections with an identity in ``t`` and ``r`` the other ones in ``s``, which only
    ``rivals="own_frame"`` includes. The target is the detection of the same identity in ``t``, or else the null slot of
    affinity ``z``. ``omega`` are the odds of :func:`place_odds`, 0 with ``odds="none"``.

    Association logits replace the cosines where the tracker has them, between consecutive frames.

    Args:
        clip: Cleaned clip.
        settings: Settings of the loss.

    Raises:
        ValueError: If the clip has neither embeddings nor association logits.

    >>> ids, boxes = torch.tensor([[[0, 1]] * 2]), torch.tensor([[[[0.0, 0.0, 10.0, 20.0]] * 2] * 2])
    >>> clip = TrackClip(boxes, ids.float(), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]),
    ...     embed=torch.eye(2).expand(1, 2, 2, 2))
    >>> sums = identity_sums(clip, Settings(identity_weight=1.0, odds="none", rivals="none"))
    >>> [round(one.item(), 4) for one in (sums.total, sums.count, sums.right)]  # 4 log(1 + exp(5 - 10) + exp(0 - 10))
    [0.027, 4, 4]
    """
    if clip.embed is None and clip.assoc_logits is None:
        raise ValueError(
            "embed: expected embeddings or assoc_logits with identity_weight above 0, got neither; pass embed or set "
            "identity_weight=0"
        )
    ids, known = clip.det_gt, clip.det_gt >= 0
    frames, slots = ids.shape[1:]
    times = torch.arange(frames, device=ids.device)
    gaps = (times[:, None] - times).abs()
    same = (ids[:, :, :, None, None] == ids[:, None, None]) & known[..., None, None]
    # Before any return, because every process must take part in the sums over processes.
    odds = place_odds(clip, same, gaps) if settings.odds == "place" else None
    if frames < 2 or not slots:
        zero = clip.logits.new_zeros(len(ids))
        return IdentitySums(zero, zero.long(), zero.long())

    affinity, own, null = _affinities(clip, settings.tau)
    null = null if settings.null is None else settings.null
    if odds is not None:
        affinity = affinity + odds
    affinity = affinity.where(known[:, None, None], IMPOSSIBLE)
    nobody = affinity.new_full((), null)
    most_own = rivals = affinity.new_full((), IMPOSSIBLE)
    if settings.rivals == "own_frame" and own is not None:
        others = known[:, :, None] & ~torch.eye(slots, dtype=torch.bool, device=ids.device)
        own = own.where(others, IMPOSSIBLE)
        rivals, most_own = own.logsumexp(-1, keepdim=True), own.amax(-1, keepdim=True)
    everything = affinity.logsumexp(-1).logaddexp(nobody).logaddexp(rivals)
    found = same.any(-1)
    target = affinity.where(same, 0).sum(-1).where(found, nobody)

    linked = gaps == 1 if settings.edges == "adjacent" or clip.assoc_logits is not None else gaps > 0
    counted = known[..., None] & linked[:, None]
    with torch.no_grad():
        most = affinity.masked_fill(same, IMPOSSIBLE).amax(-1).maximum(nobody.where(found, IMPOSSIBLE))
        right = counted & (target > most.maximum(most_own))
    total = (everything - target).where(counted, 0).sum((1, 2, 3))
    return IdentitySums(total, counted.sum((1, 2, 3)), right.sum((1, 2, 3)))


def place_odds(clip: TrackClip, same: Tensor, gaps: Tensor) -> Tensor:
    """Compute the log-odds of one identity against chance, from the distance alone; no gradient.

    ::

        omega[i, j] = clamp(log(A / (2 pi v_g)) - d[i, j]^2 / (2 v_g), -8, 8)

    is the logarithm of an isotropic normal density of the displacement over ``g`` frames, relative to a uniform one
    over the image area ``A``. Its variance per axis is that of all ordered pairs of one identity in the batch,
    ``v_g = sum d^2 / (2 n_g)``; with fewer than 8 pairs, ``v_g = g sum d^2 / (2 sum g' n_g')`` over all gaps ``g'``;
    and at least 1 px^2. In training, the sums are over the batches of all processes.

    Args:
        clip: Cleaned clip.
        same: Mask ``(B, T, N, T, N)`` bool of the pairs of one identity.
        gaps: Number of frames between both ends, ``(T, T)``.

    Returns:
        Log-odds ``(B, T, N, T, N)``.

    >>> ids, boxes = torch.zeros(1, 2, 1, dtype=torch.int64), torch.tensor([[[[0.0, 0.0, 9.0, 9.0]]] * 2])
    >>> clip = TrackClip(boxes, ids.float(), ids == 0, ids, boxes, ids, torch.tensor([[10, 10]]))
    >>> odds = place_odds(clip, torch.ones(1, 2, 1, 2, 1).bool(), torch.tensor([[0, 1], [1, 0]]))
    >>> round(odds[0, 0, 0, 1, 0].item(), 3)  # log(100 / (2 pi))
    2.767
    """
    together = torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()
    with torch.no_grad():
        centers = (clip.boxes_xyxy[..., :2] + clip.boxes_xyxy[..., 2:]) / 2
        # One axis at a time, which needs half of the memory.
        across, down = centers.unbind(-1)
        squares = (across[..., None, None] - across[:, None, None]).square()
        squares = squares + (down[..., None, None] - down[:, None, None]).square()
        steps = torch.arange(1, max(GAPS, gaps.shape[0]) + 1, device=gaps.device)
        of_gap = (steps[:, None, None] == gaps).to(squares.dtype)
        pairs = torch.stack([squares.where(same, 0).sum((0, 2, 4)), same.sum((0, 2, 4)).to(squares.dtype)])
        sums = (pairs[:, None] * of_gap).sum((2, 3))
        if together:
            dist.all_reduce(sums)
        total, count = sums
        pooled = steps * total.sum() / (2 * (steps * count).sum()).clamp(min=1)
        variance = torch.where(count < FEW, pooled, total / (2 * count).clamp(min=1)).clamp(min=1)
        variance = F.pad(variance, (1, 0), value=1.0)[gaps][:, None, :, None]
        area = clip.image_size.to(squares).prod(-1)[:, None, None, None, None]
        return ((area / (2 * pi * variance)).log() - squares / (2 * variance)).clamp(-LIMIT, LIMIT)


def _affinities(clip: TrackClip, tau: float) -> tuple[Tensor, Tensor | None, float]:
    """Return affinities ``(B, T, N, T, N)``, those within frames ``(B, T, N, N)``, and that of the null slot.

    With association logits, only the entries of consecutive frames are defined, and there are none within frames.
    """
    count, frames, slots = clip.det_gt.shape
    if clip.assoc_logits is not None:
        forward, backward = clip.assoc_logits.permute(0, 2, 3, 1), clip.assoc_logits.permute(0, 3, 2, 1)
        pairs = forward.new_zeros(count, slots, slots, frames, frames)
        pairs = pairs.diagonal_scatter(forward, 1, 3, 4).diagonal_scatter(backward, -1, 3, 4)
        return pairs.permute(0, 3, 1, 4, 2), None, 0.0
    assert clip.embed is not None
    directions = F.normalize(clip.embed, dim=-1, eps=1e-6)
    rows = directions.flatten(1, 2)
    pairs = (rows @ rows.transpose(1, 2)).reshape(count, frames, slots, frames, slots) / tau
    return pairs, directions @ directions.transpose(2, 3) / tau, 0.5 / tau
