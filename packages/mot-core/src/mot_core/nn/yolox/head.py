"""Decoupled head of YOLOX, and the decoding of its boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.dense import DenseOutput
from mot_core.nn.detr.pyramid import flatten_levels
from mot_core.nn.yolox.backbone import conv_maker
from mot_core.nn.yolox.blocks import ConvNorm, Norm

PRIOR = 0.01  # initial probability of classes and objects


@dataclass(frozen=True, eq=False)
class YOLOXOutput(DenseOutput):
    """Predictions of all cells of all levels, fine to coarse and row by row.

    Attributes:
        offsets: Boxes as the head predicts them, relative to cell and stride, of shape ``(B, A, 4)``.
        objectness: Logits of containing an object, of shape ``(B, A)``.
        class_logits: Logits of the classes given an object, of shape ``(B, A, K)``.
        cells: Column and row of every cell, of shape ``(A, 2)``.
        strides: Stride of every cell in pixels, of shape ``(A,)``.
    """

    offsets: Tensor
    objectness: Tensor
    class_logits: Tensor
    cells: Tensor
    strides: Tensor


class DecoupledHead(nn.Module):
    """Predict a box, an objectness and classes per cell, from separate branches (Ge et al. 2021, figure 2).

    Args:
        channels: Channels of the levels, fine to coarse.
        strides: Strides of the levels in pixels.
        hidden: Channels of the branches.
        num_classes: Number of classes.
        embed_dim: Channels of the embeddings, predicted by a third branch. 0 for none.
        separable: Whether 3x3 convolutions are separable.
        norm: Normalization, "batch" or "group".

    >>> head = DecoupledHead((8, 16), (8, 16), hidden=8)
    >>> output = head([torch.zeros(1, 8, 4, 6), torch.zeros(1, 16, 2, 3)])
    >>> output.boxes_cxcywh.shape, round(output.objectness[0, 0].sigmoid().item(), 3)
    (torch.Size([1, 30, 4]), 0.01)
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        hidden: int,
        num_classes: int = 1,
        embed_dim: int = 0,
        *,
        separable: bool = False,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        conv, levels = conv_maker(separable, norm), len(channels)
        self.strides = tuple(strides)

        def branches() -> nn.ModuleList:
            return nn.ModuleList(nn.Sequential(conv(hidden, hidden, 3), conv(hidden, hidden, 3)) for _ in range(levels))

        def predictors(outputs: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(hidden, outputs, 1) for _ in range(levels))

        self.stems = nn.ModuleList(ConvNorm(width, hidden, 1, norm=norm) for width in channels)
        self.class_branches, self.box_branches = branches(), branches()
        self.class_heads, self.box_heads, self.object_heads = predictors(num_classes), predictors(4), predictors(1)
        for layer in (*self.class_heads, *self.object_heads):
            nn.init.constant_(layer.bias, -math.log(1 / PRIOR - 1))
        if embed_dim:
            self.embedding_branches, self.embedding_heads = branches(), predictors(embed_dim)
        self.embed_dim = embed_dim

    def forward(self, levels: Sequence[Tensor]) -> YOLOXOutput:
        """Predict from the levels ``(B, C, h, w)`` of a feature pyramid."""
        stems = [stem(level) for stem, level in zip(self.stems, levels, strict=True)]
        classes, boxes = _run(self.class_branches, stems), _run(self.box_branches, stems)
        class_logits = flatten_levels(_run(self.class_heads, classes))
        offsets, objectness = (flatten_levels(_run(heads, boxes)) for heads in (self.box_heads, self.object_heads))
        embeddings = None
        if self.embed_dim:
            embeddings = flatten_levels(_run(self.embedding_heads, _run(self.embedding_branches, stems)))
        cells, strides = cell_grid([(level.shape[-2], level.shape[-1]) for level in levels], self.strides, offsets)
        return YOLOXOutput(
            boxes_cxcywh=decode_boxes(offsets, cells, strides),
            logits=joint_logits(objectness, class_logits),
            embeddings=embeddings,
            offsets=offsets,
            objectness=objectness.squeeze(-1),
            class_logits=class_logits,
            cells=cells,
            strides=strides,
        )


def cell_grid(shapes: Sequence[tuple[int, int]], strides: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return column and row ``(A, 2)`` and stride ``(A,)`` of the cells of maps of ``shapes``, row by row.

    >>> cells, strides = cell_grid([(1, 2), (1, 1)], (8, 16), torch.zeros(()))
    >>> cells.tolist(), strides.tolist()
    ([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]], [8.0, 8.0, 16.0])
    """
    cells, sizes = [], []
    for (height, width), stride in zip(shapes, strides, strict=True):
        rows, columns = torch.arange(height, device=like.device), torch.arange(width, device=like.device)
        cells.append(torch.cartesian_prod(rows, columns).view(-1, 2).flip(1))
        sizes.append(torch.full((height * width,), stride, device=like.device))
    return torch.cat(cells).to(like.dtype), torch.cat(sizes).to(like.dtype)


def decode_boxes(offsets: Tensor, cells: Tensor, strides: Tensor) -> Tensor:
    """Return boxes in pixels: ``center = (cell + offset) stride``, ``size = exp(offset) stride``.

    Half precision is computed in float32.

    Args:
        offsets: Predictions of shape ``(B, A, 4)``.
        cells: Column and row of the cells, of shape ``(A, 2)``.
        strides: Strides of the cells, of shape ``(A,)``.

    >>> decode_boxes(torch.zeros(1, 1, 4), torch.tensor([[3.0, 2.0]]), torch.tensor([8.0]))
    tensor([[[24., 16.,  8.,  8.]]])
    """
    if offsets.dtype in (torch.float16, torch.bfloat16):
        offsets, cells, strides = offsets.float(), cells.float(), strides.float()
    centers, sizes = offsets[..., :2] + cells, offsets[..., 2:].exp()
    return torch.cat([centers, sizes], -1) * strides[:, None]


def joint_logits(objectness: Tensor, class_logits: Tensor) -> Tensor:
    """Return logits of the product of two probabilities, so that ``sigmoid(result) = sigmoid(a) sigmoid(b)``.

    >>> joint_logits(torch.zeros(1), torch.zeros(1)).sigmoid()
    tensor([0.2500])
    """
    log = F.logsigmoid(objectness.float() if objectness.dtype != torch.float64 else objectness)
    log = log + F.logsigmoid(class_logits.to(log.dtype))
    # log(p / (1 - p)); probabilities round to 1 only for logits above 16.
    return log - torch.log(-torch.expm1(log.clamp(max=-torch.finfo(log.dtype).eps)))


def _run(modules: nn.ModuleList, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [module(x) for module, x in zip(modules, inputs, strict=True)]
