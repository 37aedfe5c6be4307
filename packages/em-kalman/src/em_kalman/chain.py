"""From associations of neighbouring frames to associations with the first frame."""

from __future__ import annotations

import torch
from torch import Tensor


def compose_chain(adjacent: Tensor, anchors: Tensor | None = None) -> Tensor:
    """Products of adjacent associations: the share of every detection in every object of frame 0.

    Args:
        adjacent: ``(..., T - 1, N, N)`` probabilities, rows = earlier detections, columns = later ones.
        anchors: ``(..., N)`` bool, the detections of frame 0 that exist; all by default.

    Returns:
        ``(..., T, K, N)`` with ``K = N``, rows = objects; the identity in frame 0. Half precision becomes float32.

    >>> swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> compose_chain(torch.stack([swap, swap]))[:, 0].tolist()  # where object 0 is
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
