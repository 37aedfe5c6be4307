"""Ground-truth graph: correct edges between consecutive frames, births and terminations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class GroundTruthGraph:
    """Edges and flow of perfect tracking; no gradient.

    Attributes:
        edges: Correct edges ``(B, T - 1, N, N)`` bool: the detection of a frame (row) and of the next (column) belong
            to one object.
        outgoing: Outgoing flow ``(B, T, N)``, 1 where the object is also detected in the next frame.
        incoming: Incoming flow ``(B, T, N)``, 1 where the object was also detected in the previous frame.
        balance: Outgoing minus incoming flow ``(B, T, N)``: 1 at a birth, -1 at a termination, 0 otherwise.
    """

    edges: Tensor
    outgoing: Tensor
    incoming: Tensor
    balance: Tensor


def ground_truth_graph(det_gt: Tensor, valid: Tensor) -> GroundTruthGraph:
    """Build the ground-truth graph from the identities assigned to detections.

    ::

        S[t, i, j] = 1 if det_gt[t, i] = det_gt[t + 1, j] >= 0 else 0
        o[t, i] = sum_j S[t, i, j],    n[t, j] = sum_i S[t - 1, i, j],    b = o - n

    Args:
        det_gt: Identities ``(B, T, N)`` int64, -1 for none.
        valid: Mask ``(B, T, N)`` bool, False where padded.

    >>> graph = ground_truth_graph(torch.tensor([[[7, 8], [8, -1], [8, 9]]]), torch.ones(1, 3, 2).bool())
    >>> graph.edges[0, 0].int(), graph.balance[0]
    (tensor([[0, 0],
             [1, 0]], dtype=torch.int32), tensor([[ 0,  1],
             [ 0,  0],
             [-1,  0]]))
    """
    edges = edges_over(det_gt, valid, 1)
    outgoing, incoming = torch.zeros_like(det_gt), torch.zeros_like(det_gt)
    outgoing[:, :-1], incoming[:, 1:] = edges.sum(3), edges.sum(2)
    return GroundTruthGraph(edges, outgoing, incoming, outgoing - incoming)


def edges_over(det_gt: Tensor, valid: Tensor, gap: int) -> Tensor:
    """Find detections of one object that are ``gap`` frames apart, with no detection of it in between.

    Args:
        det_gt: Identities ``(B, T, N)`` int64, -1 for none.
        valid: Mask ``(B, T, N)`` bool, False where padded.
        gap: Frames between both detections.

    Returns:
        Edges ``(B, T - gap, N, N)`` bool.

    >>> edges_over(torch.tensor([[[7, 8], [8, -1], [8, 7]]]), torch.ones(1, 3, 2).bool(), gap=2)[0, 0].int()
    tensor([[0, 1],
            [0, 0]], dtype=torch.int32)
    """
    ids = det_gt.where(valid, -1)
    before, after = ids[:, :-gap, :, None], ids[:, gap:, None, :]
    edges = (before == after) & (before >= 0)
    for step in range(1, gap):  # gaps are short
        between = ids[:, step : step - gap, None, :]
        edges = edges & ~(before == between).any(3, keepdim=True)
    return edges
