"""Losses of FairMOT, weighted by learned uncertainties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, iou, xyxy_to_cxcywh
from mot_core.nn.centernet.criterion import check_labels
from mot_core.nn.centernet.fairmot import FairMOTOutput
from mot_core.nn.centernet.targets import center_cells, center_focal_loss, center_heat, class_heat
from mot_core.processes import mean_over_processes
from mot_core.structures import FrameTargets

SIDE_WEIGHT = 0.1
DETECTION_START, IDENTITY_START = -1.85, -1.05  # initial logarithms of the variances
CLIP_SCALE = 10.0  # factor of the cosine similarities of a clip


class FairMOTCriterion(nn.Module):
    r"""Losses of FairMOT (Zhang et al., IJCV 2021, section 4.4, eq. 5).

    .. math::

        \tfrac12 \left(e^{-s_d} L_{det} + e^{-s_i} L_{id} + s_d + s_i\right), \quad
        L_{det} = L_{heat} + 0.1\, L_{sides} + L_{offset}

    with learned ``s``. ``L_heat`` is the focal loss, divided by the number of objects; the L1 losses are means over the
    objects, at the cells of their centers. The identity loss is the cross-entropy of the identities, either of a linear
    classifier or, without one, among the objects of the clip.

    Args:
        embed_dim: Channels of the embeddings.
        identities: Number of classes of the classifier; 0 for none. Identities are assigned to them by a checksum of
            the name of the sequence and the identity: with ``n`` people and ``n`` classes, a class has ``1`` on
            average, and more classes make it less likely that two people share one.

    >>> criterion = FairMOTCriterion(8, identities=100)
    >>> [name for name, _ in criterion.named_parameters()]
    ['detection_variance', 'identity_variance', 'classifier.weight', 'classifier.bias']
    """

    def __init__(self, embed_dim: int = 128, identities: int = 0) -> None:
        super().__init__()
        self.detection_variance = nn.Parameter(torch.tensor(DETECTION_START))
        self.identity_variance = nn.Parameter(torch.tensor(IDENTITY_START))
        self.classifier = nn.Linear(embed_dim, identities) if identities else None
        self.scale = math.sqrt(2) * math.log(max(identities - 1, 2))

    def detection(
        self, output: FairMOTOutput, targets: FrameTargets, image_size: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the weighted losses, the row of the object of each cell ``(B, A)``, and its IoU ``(B, A)``.

        Args:
            output: Predictions for ``B`` images.
            targets: Ground truth of the images.
            image_size: Height and width of the images without padding, of shape ``(B, 2)``.

        Raises:
            ValueError: If an object has a class that the detector does not have.
        """
        check_labels(targets, output.logits.shape[-1])
        boxes = denormalize_boxes(targets.boxes_cxcywh.to(output.boxes_cxcywh.dtype), image_size)
        gt_index = torch.full(output.logits.shape[:2], -1, device=output.logits.device)
        heats, sides, offsets = [], [], []
        for image, size in enumerate(image_size.tolist()):
            valid = targets.valid[image].nonzero().squeeze(1)
            heat, cell, side, offset = self._image_targets(output, boxes[image, valid], tuple(size))
            heats.append(class_heat(heat, targets.labels[image, valid], output.logits.shape[-1]))
            # An object that shares its cell with another has none if it comes later.
            gt_index[image, cell.flip(0)] = valid.flip(0)
            sides.append((output.sides[image, cell].to(side.dtype) - side).abs().sum())
            offsets.append((output.offsets[image, cell].to(offset.dtype) - offset).abs().sum())
        number = mean_over_processes(targets.valid.sum()).to(boxes)
        weight = torch.exp(-self.detection_variance) / 2
        losses = {
            "heat": weight * center_focal_loss(output.logits, torch.stack(heats)) / number,
            "sides": weight * SIDE_WEIGHT * torch.stack(sides).sum() / (4 * number),
            "offset": weight * torch.stack(offsets).sum() / (2 * number),
            "uncertainty": (self.detection_variance + self.identity_variance) / 2,
        }
        images, cells = (gt_index >= 0).nonzero(as_tuple=True)
        predicted, wanted = output.boxes_cxcywh[images, cells].detach(), boxes[images, gt_index[images, cells]]
        overlap = torch.zeros_like(gt_index, dtype=predicted.dtype)
        overlap[images, cells] = iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(wanted))
        return losses, gt_index, overlap

    @torch.no_grad()
    def _image_targets(
        self, output: FairMOTOutput, truth: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return heat ``(G, A)``, cell ``(G,)``, sides ``(G, 4)`` and offset ``(G, 2)`` of the objects ``(G, 4)``."""
        stride = output.strides[0]
        corners = cxcywh_to_xyxy(truth)
        limit = truth.new_tensor([size[1], size[0]] * 2)
        visible = xyxy_to_cxcywh(corners.clamp(min=0).minimum(limit))  # centers are those of the visible part
        strides = stride.expand(len(truth))
        centers = center_cells(visible, strides, size)
        heat = center_heat(visible, centers, strides, output.cells, output.strides)
        middle = visible[:, :2] / stride
        sides = torch.cat([middle - corners[:, :2] / stride, corners[:, 2:] / stride - middle], 1)
        cell = (centers[:, 1] * output.shape[1] + centers[:, 0]).long()
        return heat, cell, sides, middle - centers

    def identity(
        self, embeddings: Sequence[Tensor], ids: Sequence[Tensor], sequences: Sequence[str]
    ) -> dict[str, Tensor]:
        """Return the weighted loss of the identities of all clips.

        Args:
            embeddings: Embeddings of the objects of all frames of each clip, ``(N, C)``, of length 1.
            ids: Their identities ``(N,)`` int64, constant within a clip; -1 for unknown.
            sequences: Name of the sequence of each clip.
        """
        total = 0 * self.identity_variance
        number = torch.zeros((), dtype=torch.int64, device=total.device)
        for one, own, sequence in zip(embeddings, ids, sequences, strict=True):
            loss, count = self._classified(one, own, sequence) if self.classifier else clip_identity_loss(one, own)
            total, number = total + loss, number + count
        weight = torch.exp(-self.identity_variance) / 2
        return {"identity": weight * total / mean_over_processes(number).to(total)}

    def _classified(self, embeddings: Tensor, ids: Tensor, sequence: str) -> tuple[Tensor, Tensor]:
        assert self.classifier is not None, "checked by the caller"
        known, size = ids >= 0, self.classifier.out_features
        classes = [crc32(f"{sequence}/{identity}".encode()) % size for identity in ids[known].tolist()]
        logits = self.classifier(self.scale * embeddings[known].to(self.classifier.weight.dtype))
        wanted = torch.tensor(classes, dtype=torch.int64, device=ids.device)
        return F.cross_entropy(logits, wanted, reduction="sum"), known.sum()


def clip_identity_loss(embeddings: Tensor, ids: Tensor, scale: float = CLIP_SCALE) -> tuple[Tensor, Tensor]:
    r"""Return the sum of the cross-entropies of the identities among the objects of a clip, and their number.

    For each object with another view ``P_i`` in the clip, and all other objects ``j``:

    .. math::

        -\log \frac{\sum_{j \in P_i} e^{s\, e_i \cdot e_j}}{\sum_{j \ne i} e^{s\, e_i \cdot e_j}}

    Args:
        embeddings: Embeddings of the objects of all frames, ``(N, C)``, of length 1.
        ids: Identities ``(N,)`` int64; -1 for unknown, which are left out.
        scale: Factor ``s`` of the cosine similarities.

    >>> same, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> loss, number = clip_identity_loss(torch.stack([same, same, other]), torch.tensor([4, 4, 7]), scale=1.0)
    >>> round(loss.item() / number.item(), 4)  # -log(e / (e + 1))
    0.3133
    """
    known = ids >= 0
    embeddings, ids = embeddings[known], ids[known]
    itself = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    logits = (scale * embeddings @ embeddings.T).masked_fill(itself, -torch.inf)
    same = (ids[:, None] == ids) & ~itself
    seen = same.any(1)
    positive = logits[seen].masked_fill(~same[seen], -torch.inf).logsumexp(1)
    return (logits[seen].logsumexp(1) - positive).sum() + 0 * embeddings.sum(), seen.sum()
