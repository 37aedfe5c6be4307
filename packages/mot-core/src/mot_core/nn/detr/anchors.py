"""Positions of queries that follow their anchor boxes from layer to layer (DAB)."""

from __future__ import annotations

from torch import Tensor, nn

from mot_core.nn.detr.position import sine_boxes
from mot_core.nn.mlp import MLP


class AnchorPosition(nn.Module):
    r"""Position encoding of a query from its current anchor, scaled by its content.

    DAB-DETR (Liu et al., ICLR 2022, arXiv:2201.12329, eqs. 3 and 7), for the anchor :math:`a` and the content
    :math:`q` of a query:

    .. math::

        p = \mathrm{MLP}_p(\mathrm{PE}(a)) \cdot \mathrm{MLP}_s(q)

    Args:
        embed_dim: Number of channels ``C``, a multiple of 4.

    >>> import torch
    >>> AnchorPosition(8)(torch.rand(1, 5, 4), torch.zeros(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, embed_dim: int = 256) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.head = MLP(2 * embed_dim, embed_dim, embed_dim, 2)
        self.scale = MLP(embed_dim, embed_dim, embed_dim, 2)

    def forward(self, anchors: Tensor, content: Tensor | None = None) -> Tensor:
        """Encode the anchors.

        Args:
            anchors: Boxes (cx, cy, w, h) in [0, 1], of shape ``(B, N, 4)``.
            content: Queries of shape ``(B, N, C)``. None, as in the first layer, means a scale of 1.

        Returns:
            Positions of shape ``(B, N, C)``.
        """
        encoded = sine_boxes(anchors, self.embed_dim).to(self.head.layers[0].get_parameter("weight").dtype)
        position: Tensor = self.head(encoded)
        return position if content is None else position * self.scale(content)
