"""Composition of adjacent-frame associations into associations with the first frame."""

from __future__ import annotations

import torch
from torch import Tensor


def compose_chain(adjacent: Tensor, anchors: Tensor | None = None) -> Tensor:
    """Multiply adjacent associations into the probability that a detection belongs to an object of frame 0.

    ::

        P[0] = I,    P[t] = P[t - 1] A[t - 1]

    with rows = earlier detections. The objects are the detections of frame 0, as in Li et al. (arXiv 2411.11514).

    Args:
        adjacent: Association probabilities ``(..., T - 1, N, N)``, rows = earlier detections, columns = later ones.
        anchors: Mask ``(..., N)`` bool of the valid detections of frame 0; all are valid by default.

    Returns:
        Probabilities ``(..., T, K, N)`` with ``K = N`` and rows = objects; the identity matrix in frame 0. Half
        precision is promoted to float32.

    >>> swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> compose_chain(torch.stack([swap, swap]))[:, 0].tolist()  # position of object 0
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    with torch.autocast(adjacent.device.type, enabled=False):
        adjacent = adjacent.to(torch.promote_types(adjacent.dtype, torch.float32))
        *batch, steps, size, _ = adjacent.shape
        current = torch.eye(size, dtype=adjacent.dtype, device=adjacent.device).expand(*batch, size, size)
        if anchors is not None:
            current = current * anchors[..., None]
        chain = [current]
        for step in range(steps):
            chain.append(chain[-1] @ adjacent[..., step, :, :])
        return torch.stack(chain, -3)
