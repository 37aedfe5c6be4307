"""Embedding of continuous depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def depth_position(depth: Tensor, table: Tensor) -> Tensor:
    """Interpolate a table of embeddings linearly at real-valued depths (FDTA, Eq. 2).

    ``PE(d) = (1 - f) table[floor(d)] + f table[floor(d) + 1]`` with ``f = d - floor(d)``. Depths are clamped to the
    table. The gradient with respect to the depth is the difference of the two rows.

    Args:
        depth: Depths of any shape, in rows of the table.
        table: Embeddings of shape ``(R, C)``, one per unit of depth.

    Returns:
        Embeddings of shape ``(*depth.shape, C)``, in at least float32.

    >>> depth_position(torch.tensor([1.0, 1.25, 9.0]), torch.tensor([[0.0], [4.0], [8.0]])).squeeze(1)
    tensor([4., 5., 8.])
    """
    if depth.dtype != torch.float64:
        depth, table = depth.float(), table.float()
    last = len(table) - 1
    depth = depth.clamp(0, last)
    lower = depth.detach().floor()
    fraction = (depth - lower)[..., None]
    below = F.embedding(lower.long(), table)
    above = F.embedding((lower.long() + 1).clamp(max=last), table)
    return (1 - fraction) * below + fraction * above
