"""Soft flow between the detections of consecutive frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unitrack_loss.clip import TrackClip

IMPOSSIBLE = -1e9  # affinity of padded pairs; with -inf, a softmax over padding alone would have NaN gradients
GEOMETRIC_SIGMA = 0.25  # of distances in box sizes; 0.5 gives a perfect clip a loss ten times as large
SMALLEST = 1e-4  # side of a box, in image diagonals


@dataclass(frozen=True, eq=False)
class Flow:
    """Association strength between detections of consecutive frames, ``(B, T - 1, N, N)`` each.

    Attributes:
        flow: Flow in [0, 1]. Rows and columns sum to at most 1; the remainder is birth, exit or low confidence.
        log_flow: Logarithm of the flow, including the confidences of both ends; very small where an end is padded.
        log_links: Logarithm of the flow without confidences.
    """

    flow: Tensor
    log_flow: Tensor
    log_links: Tensor


def flow(
    clip: TrackClip, tau: float = 0.1, null: float | None = None, gate_confidence: bool = True, gap: int = 1
) -> Flow:
    """Compute the soft flow between detections of consecutive frames.

    The flow is a dual softmax of the affinities ``a`` with a null slot of affinity ``z``, times the confidences of both
    ends::

        P_row[i, j] = exp(a[i, j]) / (exp(z) + sum_k exp(a[i, k]))
        P_col[i, j] = exp(a[i, j]) / (exp(z) + sum_k exp(a[k, j]))
        F[i, j]     = sigmoid(l[i]) sigmoid(l[j]) P_row[i, j] P_col[i, j]

    The affinity is ``assoc_logits``, if given; otherwise the cosine similarity of the embeddings divided by ``tau``;
    otherwise, with centers ``c``, box diagonals ``s`` and heights ``h``::

        a[i, j] = -(|c[i] - c[j]|^2 / (s[i] s[j]) + log(h[i] / h[j])^2) / (2 * 0.25^2)

    UniTrack (Galoaa et al., arXiv 2602.05037) defines flow as association strength, but not how to compute it; this
    form satisfies its capacity constraints, ``sum_j F <= 1`` and ``sum_i F <= 1``, by construction.

    Args:
        clip: Batch of clips.
        tau: Temperature of the cosine similarities. Lower values give sharper associations.
        null: Affinity of the null slot; None for 0 with ``assoc_logits``, ``0.5 / tau`` with embeddings and -4 with
            boxes. Higher values favor birth and exit.
        gate_confidence: Whether to multiply by the confidences of both ends, which gives the logits a gradient.
        gap: Frames between both ends; the results have ``T - gap`` in place of ``T - 1``.

    Raises:
        ValueError: If ``gap`` is larger than 1 with ``assoc_logits``, which exist for consecutive frames only.

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
    """Return affinities ``(B, T - gap, N, N)`` and the default affinity of the null slot."""
    if clip.assoc_logits is not None:
        if gap > 1:
            raise ValueError(
                f"assoc_logits: expected max_gap=1, got a gap of {gap}; pass embed in place of assoc_logits"
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
    """Return the log-softmax over ``dim`` and a null slot, which is dropped from the result."""
    padding = (0, 1) if dim == 3 else (0, 0, 0, 1)
    return F.pad(affinity, padding, value=nobody).log_softmax(dim).narrow(dim, 0, affinity.shape[dim])
