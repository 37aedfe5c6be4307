"""A small detector with queries and a Hungarian matcher, shared by the recipes for MOTR and TrackFormer."""

from __future__ import annotations

import torch
from clips import small_backbone
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from mot_core.boxes import cxcywh_to_xyxy, pairwise_giou
from mot_core.nn import MLP

QUERIES = 10
WIDTH = 32


class QueryDetector(nn.Module):
    """Object queries, and any track queries, look at the cells of one image."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = small_backbone(4, WIDTH)
        self.place = nn.Linear(2, WIDTH)
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH))
        self.decoder = nn.TransformerDecoderLayer(WIDTH, 4, 64, 0.0, batch_first=True)
        self.box_head, self.class_head = MLP(WIDTH, WIDTH, 4, 2), nn.Linear(WIDTH, 1)

    def forward(self, image: Tensor, queries: Tensor) -> dict[str, Tensor]:
        """Return logits ``(N, 1)``, boxes ``(N, 4)`` and embeddings ``(N, C)`` of the queries ``(N, C)``."""
        features = self.backbone(image[None])
        rows, columns = features.shape[-2:]
        y, x = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
        cells = features.flatten(2).mT + self.place(torch.stack([x, y], -1).view(1, -1, 2))
        embed = self.decoder(queries[None], cells)[0]
        return {"pred_logits": self.class_head(embed), "pred_boxes": self.box_head(embed).sigmoid(), "embed": embed}


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of predictions and of ground-truth boxes ``(G, 4)`` that belong together."""
    overlap = pairwise_giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(truth))
    cost = 5 * torch.cdist(boxes, truth, 1) - 2 * overlap - logits.sigmoid()
    rows, columns = linear_sum_assignment(cost.numpy())
    return torch.from_numpy(rows), torch.from_numpy(columns)


def detection_losses(logits: Tensor, boxes: Tensor, rows: Tensor, truth: Tensor) -> Tensor:
    """Return the sum of the losses of classes and boxes, for matched ``rows`` and their boxes ``(n, 4)``."""
    wanted = torch.zeros_like(logits).index_fill(0, rows, 1)
    classes = binary_cross_entropy_with_logits(logits, wanted)
    return classes + (5 * l1_loss(boxes[rows], truth) if len(rows) else 0)
