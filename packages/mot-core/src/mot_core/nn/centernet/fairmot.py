"""Detector of FairMOT: centers, boxes and identity embeddings at stride 4."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.backbones.dla import DLA, DLANorm
from mot_core.nn.centernet.detector import extend
from mot_core.nn.centernet.dla_up import DLAUp
from mot_core.nn.dense import DenseOutput
from mot_core.nn.detr.pyramid import flatten_levels, resize_mask
from mot_core.nn.yolox.head import cell_grid
from mot_core.structures import FeaturePyramid

PRIOR_LOGIT = -2.19  # initial logit of a center, a probability of 0.1
SMALLEST = 1e-2  # width and height of a box in cells; below, the gradient is 0


@dataclass(frozen=True, eq=False)
class FairMOTOutput(DenseOutput):
    """Predictions of all cells, row by row. Embeddings have length 1.

    Attributes:
        sides: Distances of the center to left, top, right and bottom, in cells, of shape ``(B, A, 4)``.
        offsets: Offset of the center from the corner of the cell, in cells, of shape ``(B, A, 2)``.
        cells: Column and row of every cell, of shape ``(A, 2)``.
        strides: Stride of every cell in pixels, of shape ``(A,)``.
        shape: Rows and columns of the map.
    """

    sides: Tensor
    offsets: Tensor
    cells: Tensor
    strides: Tensor
    shape: tuple[int, int]


class FairMOTNetwork(nn.Module):
    """Network of FairMOT (Zhang et al., IJCV 2021, arXiv:2004.01888, section 4) on DLA with an upsampling path.

    Four heads of a 3x3 and a 1x1 convolution predict the heat map of centers, the four sides of the box, the offset of
    the center within its cell, and an embedding.

    Args:
        size: Size of the backbone, "34" or "micro".
        num_classes: Number of classes.
        embed_dim: Channels of the embeddings.
        hidden: Channels of the heads.
        deformable: Whether the upsampling path has deformable convolutions, as in the released weights.
        norm: Normalization, "batch" or "group".

    >>> with torch.device("meta"):  # shapes only
    ...     detector = FairMOTNetwork()
    >>> round(sum(parameter.numel() for parameter in detector.parameters()) / 1e6, 2)
    19.79
    """

    def __init__(
        self,
        size: Literal["34", "micro"] = "34",
        num_classes: int = 1,
        embed_dim: int = 128,
        hidden: int = 256,
        *,
        deformable: bool = True,
        norm: DLANorm = "batch",
    ) -> None:
        super().__init__()
        self.backbone = DLA(size, norm)
        self.upsample = DLAUp(self.backbone.channels, deformable=deformable, norm=norm)
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.strides, self.channels = self.backbone.strides[:1], self.backbone.channels[:1]

        def head(outputs: int, bias: float | None = None, std: float | None = None) -> nn.Sequential:
            last = nn.Conv2d(hidden, outputs, 1)
            if std is not None:
                nn.init.normal_(last.weight, std=std)
            if bias is not None and last.bias is not None:
                nn.init.constant_(last.bias, bias)
            return nn.Sequential(nn.Conv2d(self.channels[0], hidden, 3, padding=1), nn.ReLU(), last)

        self.heat_head, self.identity_head = head(num_classes, PRIOR_LOGIT), head(embed_dim)
        self.side_head, self.offset_head = head(4, 2.0, 0.001), head(2, 0.5, 0.001)

    def features(self, images: Tensor, padding: Tensor | None = None) -> FeaturePyramid:
        """Return the map of stride 4.

        Args:
            images: Normalized images of shape ``(B, 3, H, W)``, extended by zeros to multiples of 32.
            padding: True where an image is padded, ``(B, H, W)`` bool. None for images without padding.
        """
        images, padding = extend(images, padding, 32)
        level = self.upsample(self.backbone(images))
        return FeaturePyramid((level,), (resize_mask(padding, (level.shape[-2], level.shape[-1])),))

    def head(self, level: Tensor) -> FairMOTOutput:
        """Predict from the map ``(B, C, h, w)``."""
        logits, sides, offsets, embeddings = (
            flatten_levels([part(level)])
            for part in (self.heat_head, self.side_head, self.offset_head, self.identity_head)
        )
        shape = (level.shape[-2], level.shape[-1])
        cells, strides = cell_grid([shape], self.strides, sides)
        wide = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        boxes = decode_sides(sides, offsets, cells, strides)
        return FairMOTOutput(boxes, logits, F.normalize(wide, dim=-1, eps=1e-6), sides, offsets, cells, strides, shape)

    def forward(self, images: Tensor) -> FairMOTOutput:
        """Detect in normalized images ``(B, 3, H, W)``."""
        return self.head(self.features(images).levels[0])


def decode_sides(sides: Tensor, offsets: Tensor, cells: Tensor, strides: Tensor) -> Tensor:
    """Return boxes as center and size in pixels: the sides are distances from ``cell + offset``, all in cells.

    Half precision is computed in float32. Sizes are at least a hundredth of a cell.

    Args:
        sides: Distances to left, top, right and bottom, ``(B, A, 4)``.
        offsets: Offsets of the centers, ``(B, A, 2)``.
        cells: Column and row of the cells, ``(A, 2)``.
        strides: Strides of the cells, ``(A,)``.

    >>> decode_sides(torch.ones(1, 1, 4), torch.zeros(1, 1, 2), torch.tensor([[3.0, 2.0]]), torch.tensor([4.0]))
    tensor([[[12.,  8.,  8.,  8.]]])
    """
    if sides.dtype in (torch.float16, torch.bfloat16):
        sides, offsets, cells, strides = sides.float(), offsets.float(), cells.float(), strides.float()
    near, far = sides.chunk(2, -1)
    centers = cells + offsets + (far - near) / 2
    return torch.cat([centers, (near + far).clamp(min=SMALLEST)], -1) * strides[:, None]


def keep_peaks(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Replace the logits of cells with a stronger neighbor of their class by the lowest value of their type.

    Args:
        logits: Logits of all cells, ``(B, A, K)``.
        shape: Rows and columns of the map, ``A`` cells.

    >>> keep_peaks(torch.tensor([[[0.0], [2.0], [1.0], [0.5], [3.0]]]), (1, 5)).flatten() > -9
    tensor([False,  True, False, False,  True])
    """
    maps = logits.transpose(1, 2).reshape(len(logits), -1, *shape)
    peak = F.max_pool2d(maps, 3, 1, 1) == maps
    return logits.where(peak.flatten(2).transpose(1, 2), -math.inf).clamp(min=torch.finfo(logits.dtype).min)
