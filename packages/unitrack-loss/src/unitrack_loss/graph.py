"""The graph that perfect tracking would draw: who is whom in the next frame, and where tracks begin and end."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class GroundTruthGraph:
    """Edges and flow of the ground truth; no gradient.

    Attributes:
        edges: ``(B, T - 1, N, N)`` bool, detection of a frame (row) and of the next (column) are one object.
        outgoing: ``(B, T, N)`` 1 where the object is also detected in the next frame.
        incoming: ``(B, T, N)`` 1 where it was also detected in the frame before.
        balance: ``(B, T, N)`` their difference: 1 at a birth, -1 at a termination, else 0.
    """

    edges: Tensor
    outgoing: Tensor
    incoming: Tensor
    balance: Tensor


def ground_truth_graph(det_gt: Tensor, valid: Tensor) -> GroundTruthGraph:
    """The graph of the identities that the tracker's matching gave its detections.

    Args:
        det_gt: ``(B, T, N)`` int64 identities, -1 for none.
        valid: ``(B, T, N)`` bool.

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
    """Which detections are of one object that is not detected in between, ``(B, T - gap, N, N)`` bool.

    Args:
        det_gt: ``(B, T, N)`` int64 identities, -1 for none.
        valid: ``(B, T, N)`` bool.
        gap: frames from one to the other.

    >>> edges_over(torch.tensor([[[7, 8], [8, -1], [8, 7]]]), torch.ones(1, 3, 2).bool(), gap=2)[0, 0].int()
    tensor([[0, 1],
            [0, 0]], dtype=torch.int32)
    """
    ids = det_gt.where(valid, -1)
    before, after = ids[:, :-gap, :, None], ids[:, gap:, None, :]
    edges = (before == after) & (before >= 0)
    for step in range(1, gap):  # a handful
        between = ids[:, step : step - gap, None, :]
        edges = edges & ~(before == between).any(3, keepdim=True)
    return edges
