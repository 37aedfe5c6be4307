"""Rivals in the other videos of a batch, in training also in those of other processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mot_core.processes import gather_rows
from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import IMPOSSIBLE

FAR_APART = 2**40  # between the numbers of unnamed videos of two processes


@dataclass(frozen=True, eq=False)
class OtherVideos:
    """Affinities of all ``R = B T N`` detections with those of other videos.

    Attributes:
        log_sum: Logarithm of the sum of their exponentials, ``(B, T, N, 1)``.
        rows: Unit vectors of the detections, ``(R, D)``.
        video: Number of their video, ``(R,)`` int64; -1 without identity.
        remote: Of the detections with an identity in other processes, unit vectors ``(S, D)`` and number of the video
            ``(S,)``; None without processes.
    """

    log_sum: Tensor
    rows: Tensor
    video: Tensor
    remote: tuple[Tensor, Tensor] | None = None


def other_videos(clip: TrackClip, tau: float) -> OtherVideos | None:
    """Sum the affinities of each detection with those of other videos, which are never of the same object.

    ::

        log sum_r exp(cos(e[i], e[r]) / tau)

    over the detections ``r`` with an identity in the clips of other videos. They make the embeddings describe objects,
    because a place or a background occurs in many videos. Both ends have a gradient: with one end as a constant, the
    embeddings of a video became alike instead.

    Args:
        clip: Cleaned clip.
        tau: Temperature.

    Returns:
        Sums and what :func:`exchange` needs; None without other clips.

    >>> ids = torch.tensor([[[0]], [[0]]])
    >>> clip = TrackClip(torch.zeros(2, 1, 1, 4), ids.float(), ids == 0, ids, torch.zeros(2, 1, 1, 4), ids,
    ...     torch.tensor([[9, 9]] * 2), embed=torch.tensor([[[[0.6, 0.8]]], [[[1.0, 0.0]]]]))
    >>> other_videos(clip, 0.1).log_sum.flatten()
    tensor([6., 6.])
    """
    together = torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()
    if len(clip.det_gt) < 2 and not together:
        return None
    assert clip.embed is not None, "checked by the caller"
    count, frames, slots = clip.det_gt.shape
    rows = F.normalize(clip.embed, dim=-1, eps=1e-6).flatten(0, 2)
    number = clip.video
    if number is None:
        number = torch.arange(count, device=rows.device) + (dist.get_rank() * FAR_APART if together else 0)
    video = number[:, None, None].expand(count, frames, slots).flatten().where(clip.det_gt.flatten() >= 0, -1)
    everyone, their_video, remote = rows, video, None
    if together:
        # Every process must take part, also one without detections.
        remote = _from_others(rows, video, video >= 0)
        everyone, their_video = torch.cat([rows, remote[0]]), torch.cat([video, remote[1]])
    affinity = (rows @ everyone.T / tau).where(_rivals(video, their_video), IMPOSSIBLE)
    log_sum = affinity.logsumexp(-1).reshape(count, frames, slots, 1)
    return OtherVideos(log_sum, rows, video, remote)


def exchange(elsewhere: OtherVideos | None, everything: Tensor, counted: Tensor, tau: float) -> Tensor:
    """Return 0 with the gradient of the losses of other processes at the embeddings of this one, their rivals.

    Processes exchange numbers and no gradients. The gradient of a remote detection's loss at its affinity ``a`` with a
    rival is ``w exp(a - L)``, where ``L`` is its ``log_sum`` and ``w`` the gradient at ``L``.

    Args:
        elsewhere: Rivals in other videos.
        everything: Logarithm of the denominator of each detection and other frame, ``(B, T, N, T)``.
        counted: Mask of those that count, of the same shape.
        tau: Temperature.

    >>> exchange(None, torch.zeros(1, 2, 3, 2), torch.ones(1, 2, 3, 2).bool(), 0.1)
    tensor(0.)
    """
    if elsewhere is None or elsewhere.remote is None:
        return everything.new_zeros(())
    remote, remote_video = elsewhere.remote
    with torch.no_grad():
        share = (elsewhere.log_sum - everything).exp().where(counted, 0).sum(-1, keepdim=True)
        share = share / counted.sum((1, 2, 3), keepdim=True).clamp(min=1)
        share, log_sum = _from_others(share.flatten(), elsewhere.log_sum.flatten(), elsewhere.video >= 0)
    rivals = _rivals(remote_video, elsewhere.video)
    affinity = remote @ elsewhere.rows.T / tau
    value = (share[:, None] * (affinity - log_sum[:, None]).exp()).where(rivals, 0).sum()
    return value - value.detach()


def _from_others(one: Tensor, other: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the known rows of two tensors in all other processes."""
    parts = gather_rows(one[known], other[known])
    parts[dist.get_rank()] = one[:0].detach(), other[:0]
    first, second = zip(*parts, strict=True)
    return torch.cat(first), torch.cat(second)


def _rivals(video: Tensor, other: Tensor) -> Tensor:
    """Return the mask of the pairs with an identity in different videos."""
    return (video[:, None] != other) & (video[:, None] >= 0) & (other >= 0)
