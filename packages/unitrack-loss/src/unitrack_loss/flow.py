"""Soft flow between the detections of consecutive frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unitrack_loss.clip import TrackClip

IMPOSSIBLE = -1e9  # an affinity; not -inf, whose softmax over nothing else has no gradient
GEOMETRIC_SIGMA = 0.25  # of distances in box sizes; 0.5 leaves a perfect clip ten times as far from 0
SMALLEST = 1e-4  # side of a box, in diagonals of the image


@dataclass(frozen=True, eq=False)
class Flow:
    """How strongly detections of consecutive frames are associated, ``(B, T - 1, N, N)`` each.

    Attributes:
        flow: between 0 and 1; rows and columns sum to at most 1, what is missing went to birth and exit.
        log_flow: its logarithm, with the confidences of both ends in it; very small where an end is padded.
        log_links: the same without confidences.
    """

    flow: Tensor
    log_flow: Tensor
    log_links: Tensor


def flow(
    clip: TrackClip, tau: float = 0.1, null: float | None = None, gate_confidence: bool = True, gap: int = 1
) -> Flow:
    """Association of consecutive frames: a softmax over the next frame times one over the frame before.

    Each has a place for "nobody", of a fixed affinity. The affinity of two detections is that of the tracker
    (``assoc_logits``), else the cosine of their embeddings, else how near and alike in size their boxes are.

    Args:
        clip: the detections.
        tau: temperature of cosines.
        null: affinity of "nobody"; None: 0 for the tracker's logits, ``0.5 / tau`` for cosines, -4 for boxes.
        gate_confidence: multiply with the confidence of both ends, so that logits get a gradient.
        gap: frames from one end to the other; tensors of the result have ``T - gap`` in place of ``T - 1``.

    Raises:
        ValueError: there is a gap and the affinities are the tracker's, which are of consecutive frames.

    >>> identity = torch.zeros(1, 2, 1, dtype=torch.int64)
    >>> boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0]]] * 2])
    >>> clip = TrackClip(boxes, torch.full((1, 2, 1), 9.0), identity == 0, identity, boxes, identity,
    ...     torch.tensor([[480, 640]]), embed=torch.ones(1, 2, 1, 8))
    >>> round(flow(clip).flow.item(), 3)  # (1 / (1 + exp(5 - 10)))^2
    0.986
    """
    with torch.autocast(clip.logits.device.type, enabled=False):
        clip = clip.clean()
        affinity, nobody = _affinity(clip, tau, gap)
        affinity = affinity.where(clip.pairs(gap), IMPOSSIBLE)
        nobody = nobody if null is None else null
        links = _log_softmax(affinity, 3, nobody) + _log_softmax(affinity, 2, nobody)
        gated = links
        if gate_confidence:
            confidence = F.logsigmoid(clip.logits)
            gated = links + confidence[:, :-gap, :, None] + confidence[:, gap:, None, :]
        return Flow(gated.exp(), gated, links)


def _affinity(clip: TrackClip, tau: float, gap: int) -> tuple[Tensor, float]:
    """``(B, T - gap, N, N)`` and the affinity of "nobody" that fits it."""
    if clip.assoc_logits is not None:
        if gap > 1:
            raise ValueError(
                f"assoc_logits are of consecutive frames, got a gap of {gap}; set max_gap=1, or give embed"
            )
        return clip.assoc_logits, 0.0
    if clip.embed is not None:
        directions = F.normalize(clip.embed, dim=-1, eps=1e-6)
        return directions[:, :-gap] @ directions[:, gap:].transpose(2, 3) / tau, 0.5 / tau
    smallest = SMALLEST * clip.image_size.to(clip.boxes_xyxy).norm(dim=-1)[:, None, None]
    centers = (clip.boxes_xyxy[..., :2] + clip.boxes_xyxy[..., 2:]) / 2
    sides = (clip.boxes_xyxy[..., 2:] - clip.boxes_xyxy[..., :2]).maximum(smallest[..., None])
    diagonal, log_height = sides.norm(dim=-1), sides[..., 1].log()
    squares = (centers[:, :-gap, :, None] - centers[:, gap:, None, :]).square().sum(-1)
    near = squares / (diagonal[:, :-gap, :, None] * diagonal[:, gap:, None, :])
    alike = (log_height[:, :-gap, :, None] - log_height[:, gap:, None, :]).square()
    return -(near + alike) / (2 * GEOMETRIC_SIGMA**2), -4.0


def _log_softmax(affinity: Tensor, dim: int, nobody: float) -> Tensor:
    """Over ``dim`` and one more place of affinity ``nobody``, which is left out of the result."""
    padding = (0, 1) if dim == 3 else (0, 0, 0, 1)
    return F.pad(affinity, padding, value=nobody).log_softmax(dim).narrow(dim, 0, affinity.shape[dim])
