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
from unitrack_loss.terms.other_videos import OtherVideos, exchange, other_videos

LIMIT = 8.0  # of the log-odds of place, so that no distance makes an identity impossible
FEW = 8  # pairs of one gap below which its variance is taken from all gaps
GAPS = 64  # minimum number of counted gaps, so that processes with clips of different lengths add equal shapes


@dataclass(frozen=True, eq=False)
class IdentityFlow:
    """Affinities of all pairs of detections and the targets among them, for ``B`` clips of ``T`` frames.

    Attributes:
        affinity: Affinity of the detections of another frame, ``(B, T, N, T, N)``; very low for those without identity.
        odds: Their odds of place, of the same shape; None with ``odds="none"``.
        squares: Their squared distances in px^2, of the same shape.
        everything: Logarithm of the denominator of each detection and other frame, ``(B, T, N, T)``.
        nobody: Affinity of the null slot, a scalar.
        strongest_rival: Largest affinity within the own frame, ``(B, T, N, 1)``; a scalar without rivals.
        same: Mask of the pairs of one identity, ``(B, T, N, T, N)`` bool.
        counted: Mask of the detections and other frames that count, ``(B, T, N, T)`` bool.
        elsewhere: Rivals in other videos; None with other ``rivals``, or without other clips.
    """

    affinity: Tensor
    odds: Tensor | None
    squares: Tensor
    everything: Tensor
    nobody: Tensor
    strongest_rival: Tensor
    same: Tensor
    counted: Tensor
    elsewhere: OtherVideos | None


@dataclass(frozen=True, eq=False)
class IdentitySums:
    """Sums over the (detection, other frame) pairs of every clip, ``(B,)`` each.

    The last four are ``(B, 2)``: of neighboring frames, and of frames farther apart.

    Attributes:
        total: Sum of ``-log p`` of the targets.
        count: Number of pairs.
        exchanged: 0, a scalar with the gradient of the sum over the clips of other processes, each divided by its
            number of pairs, at the embeddings of this one.
        edges: Number of pairs whose object is in the other frame.
        flow: Sum of ``p`` of these.
        right: Number of these whose target has the largest probability.
        placed: Number of these whose target is the nearest detection of an object.
    """

    total: Tensor
    count: Tensor
    exchanged: Tensor
    edges: Tensor
    flow: Tensor
    right: Tensor
    placed: Tensor


def identity_sums(clip: TrackClip, settings: Settings) -> IdentitySums:
    """Sum the negative log-probability that each detection finds its identity in every other frame.

    For a detection ``i`` with an identity in frame ``s`` and another frame ``t`` of the clip::

        a[i, j] = cos(e[i], e[j]) / tau + omega[i, j]
        p[i, j] = exp(a[i, j]) / (exp(z) + sum_k exp(a[i, k]) + sum_r exp(cos(e[i], e[r]) / tau))

    where ``k`` are the detections with an identity in ``t`` and ``r`` the rivals: with ``rivals="batch"`` the other
    ones in ``s`` and all those of other videos, with "own_frame" those in ``s`` only. The target is the detection of
    the same identity in ``t``, or else the null slot of affinity ``z``. ``omega`` are the odds of :func:`place_odds`, 0
    with ``odds="none"``.

    Association logits replace the cosines where the tracker has them, between consecutive frames.

    Args:
        clip: Cleaned clip.
        settings: Settings of the loss.

    Raises:
        ValueError: If the clip has neither embeddings nor association logits.

    >>> ids, boxes = torch.tensor([[[0, 1]] * 2]), torch.tensor([[[[0.0, 0.0, 10.0, 20.0]] * 2] * 2])
    >>> clip = TrackClip(boxes, ids.float(), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]),
    ...     embed=torch.eye(2).expand(1, 2, 2, 2))
    >>> sums = identity_sums(clip, Settings(odds="none", rivals="none"))
    >>> [round(one.item(), 4) for one in (sums.total, sums.count, sums.right[:, 0])]
    [0.027, 4, 4]

    The total is ``4 log(1 + exp(5 - 10) + exp(0 - 10))``.
    """
    flow = identity_flow(clip, settings)
    exchanged = exchange(flow.elsewhere, flow.everything, flow.counted, settings.tau)
    frames, slots = clip.det_gt.shape[1:]
    if frames < 2 or not slots:
        zero = clip.logits.new_zeros(len(clip.det_gt))
        none = zero.long()[:, None].repeat(1, 2)
        return IdentitySums(zero, zero.long(), exchanged, none, zero[:, None].repeat(1, 2), none, none)
    found = flow.same.any(-1)
    target = flow.affinity.where(flow.same, 0).sum(-1).where(found, flow.nobody)
    loss = (flow.everything - target).where(flow.counted, 0)
    with torch.no_grad():
        edges = flow.counted & found
        wrong = flow.affinity.masked_fill(flow.same, IMPOSSIBLE).amax(-1)
        right = edges & (target > wrong.maximum(flow.nobody).maximum(flow.strongest_rival))
        known = clip.det_gt >= 0
        apart = flow.squares.where(known[:, None, None] & ~flow.same, torch.inf).amin(-1)
        placed = edges & (flow.squares.where(flow.same, 0).sum(-1) < apart)
        neighbors = (_gaps(clip) == 1)[:, None]

        def by_gap(values: Tensor) -> Tensor:
            return torch.stack([(values * part).sum((1, 2, 3)) for part in (neighbors, ~neighbors)], 1)

        counts = by_gap(edges), by_gap((-loss).exp() * edges), by_gap(right), by_gap(placed)
    return IdentitySums(loss.sum((1, 2, 3)), flow.counted.sum((1, 2, 3)), exchanged, *counts)


def identity_flow(clip: TrackClip, settings: Settings) -> IdentityFlow:
    """Compute the affinities of :func:`identity_sums` and their denominators.

    Args:
        clip: Cleaned clip.
        settings: Settings of the loss.

    Raises:
        ValueError: If the clip has neither embeddings nor association logits.

    >>> ids, boxes = torch.tensor([[[0, 1]] * 2]), torch.tensor([[[[0.0, 0.0, 10.0, 20.0]] * 2] * 2])
    >>> clip = TrackClip(boxes, ids.float(), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]),
    ...     embed=torch.eye(2).expand(1, 2, 2, 2))
    >>> identity_flow(clip, Settings(odds="none")).affinity[0, 0, 0, 1]  # cosine / 0.1
    tensor([10.,  0.])
    """
    if clip.embed is None and clip.assoc_logits is None:
        raise ValueError(
            "embed: expected embeddings or assoc_logits with identity_weight above 0, got neither; pass embed, or use "
            'preset="paper", whose flow can be that of the boxes'
        )
    ids, known = clip.det_gt, clip.det_gt >= 0
    slots, gaps = ids.shape[2], _gaps(clip)
    same = (ids[:, :, :, None, None] == ids[:, None, None]) & known[..., None, None]
    # Before any return, because every process must take part in the sums over processes.
    squares = squared_distances(clip)
    odds = place_odds(clip, squares, same) if settings.odds == "place" else None
    affinity, own, null = _affinities(clip, settings.tau)
    elsewhere = other_videos(clip, settings.tau) if settings.rivals == "batch" and own is not None else None
    null = null if settings.null is None else settings.null
    if odds is not None:
        affinity = affinity + odds
    affinity = affinity.where(known[:, None, None], IMPOSSIBLE)
    nobody = affinity.new_full((), null)
    strongest = rivals = affinity.new_full((), IMPOSSIBLE)
    if settings.rivals != "none" and own is not None and slots:
        others = known[:, :, None] & ~torch.eye(slots, dtype=torch.bool, device=ids.device)
        own = own.where(others, IMPOSSIBLE)
        rivals, strongest = own.logsumexp(-1, keepdim=True), own.amax(-1, keepdim=True)
        rivals = rivals if elsewhere is None else rivals.logaddexp(elsewhere.log_sum)
    everything = affinity.logsumexp(-1).logaddexp(nobody).logaddexp(rivals)
    linked = gaps == 1 if settings.edges == "adjacent" or clip.assoc_logits is not None else gaps > 0
    counted = known[..., None] & linked[:, None]
    return IdentityFlow(affinity, odds, squares, everything, nobody, strongest, same, counted, elsewhere)


def squared_distances(clip: TrackClip) -> Tensor:
    """Compute the squared distances of the centers of all pairs of detections, in px^2; no gradient.

    Args:
        clip: Cleaned clip.

    Returns:
        Tensor of shape ``(B, T, N, T, N)``.

    >>> boxes = torch.tensor([[[[0.0, 0.0, 2.0, 2.0]], [[3.0, 4.0, 5.0, 6.0]]]])
    >>> ids = torch.zeros(1, 2, 1).long()
    >>> clip = TrackClip(boxes, ids.float(), ids == 0, ids, boxes, ids, torch.tensor([[10, 10]]))
    >>> squared_distances(clip)[0, 0, 0, :, 0]
    tensor([ 0., 25.])
    """
    with torch.no_grad():
        centers = (clip.boxes_xyxy[..., :2] + clip.boxes_xyxy[..., 2:]) / 2
        # One axis at a time, which needs half of the memory.
        across, down = centers.unbind(-1)
        squares = (across[..., None, None] - across[:, None, None]).square()
        return squares + (down[..., None, None] - down[:, None, None]).square()


def place_odds(clip: TrackClip, squares: Tensor, same: Tensor) -> Tensor:
    """Compute the log-odds of one identity against chance, from the distance alone; no gradient.

    ::

        omega[i, j] = clamp(log(A / (2 pi v_g)) - d[i, j]^2 / (2 v_g), -8, 8)

    is the logarithm of an isotropic normal density of the displacement over ``g`` frames, relative to a uniform one
    over the image area ``A``. Its variance per axis is that of all ordered pairs of one identity in the batch,
    ``v_g = sum d^2 / (2 n_g)``; with fewer than 8 pairs, ``v_g = g sum d^2 / (2 sum g' n_g')`` over all gaps ``g'``;
    and at least 1 px^2. In training, the sums are over the batches of all processes.

    Args:
        clip: Cleaned clip.
        squares: Its :func:`squared_distances`.
        same: Mask ``(B, T, N, T, N)`` bool of the pairs of one identity.

    Returns:
        Log-odds ``(B, T, N, T, N)``.

    >>> ids, boxes = torch.zeros(1, 2, 1, dtype=torch.int64), torch.tensor([[[[0.0, 0.0, 9.0, 9.0]]] * 2])
    >>> clip = TrackClip(boxes, ids.float(), ids == 0, ids, boxes, ids, torch.tensor([[10, 10]]))
    >>> odds = place_odds(clip, squared_distances(clip), torch.ones(1, 2, 1, 2, 1).bool())
    >>> round(odds[0, 0, 0, 1, 0].item(), 3)  # log(100 / (2 pi))
    2.767
    """
    together = torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()
    gaps = _gaps(clip)
    with torch.no_grad():
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


def _gaps(clip: TrackClip) -> Tensor:
    """Return the number of frames between each two frames, ``(T, T)``."""
    times = torch.arange(clip.det_gt.shape[1], device=clip.det_gt.device)
    return (times[:, None] - times).abs()


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
