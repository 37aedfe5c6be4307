"""The decoupled tracking-detection loss: detection, tracking and association of every frame of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from lamotr.functional.matching import association_targets
from mot_core.nn import detection_losses
from mot_core.processes import mean_over_processes
from mot_core.structures import FrameTargets

Pairs: TypeAlias = Literal["all", "foreground"]
"""Pairs of the association loss."""


@dataclass(frozen=True)
class LossSettings:
    """Weights of the decoupled loss (LA-MOTR, ICCV 2025, Eq. 1).

    Args:
        class_weight: Weight of the focal loss in the detection and tracking terms.
        l1_weight: Weight of the L1 loss of the boxes.
        giou_weight: Weight of the GIoU loss.
        detection_weight: Weight of the detection term. The paper does not give it.
        tracking_weight: Weight of the tracking term. The paper does not give it.
        association_weight: Weight of the association term.
        pairs: Pairs of the association loss: "all", or "foreground" for the rows of objects that are matched or have a
            score above 0.5, which learns faster because fewer pairs are trivial.
        positive_weight: Weight of positive pairs in the association loss. Higher values find more pairs, but raise
            their scores above the true probability.

    Raises:
        ValueError: If ``pairs`` is unknown.

    >>> LossSettings().association_weight
    10.0
    """

    class_weight: float = 2.0
    l1_weight: float = 5.0
    giou_weight: float = 2.0
    detection_weight: float = 1.0
    tracking_weight: float = 1.0
    association_weight: float = 10.0
    pairs: Pairs = "all"
    positive_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.pairs not in ("all", "foreground"):
            raise ValueError(f"pairs: expected all or foreground, got {self.pairs!r}")


@dataclass(frozen=True, eq=False)
class DecoupledFrame:
    """Predictions of one frame and their matches, of ``M`` object queries and ``K`` tracklet queries.

    Attributes:
        obj_logits: Class logits of the objects, of shape ``(B, M, C)``.
        obj_boxes_cxcywh: Boxes of the objects in [0, 1], of shape ``(B, M, 4)``.
        tck_logits: Class logits of the tracklets, of shape ``(B, K, C)``.
        tck_boxes_cxcywh: Boxes of the tracklets, of shape ``(B, K, 4)``.
        score_logits: Association logits of shape ``(B, M, K)``, or None for a layer without association.
        obj_match: Row of the ground truth of each object, of shape ``(B, M)``; -1 for none.
        tck_match: Row of the ground truth of each tracklet, of shape ``(B, K)``; -1 for none.
        targets: Ground truth.
        obj_pad: Boolean mask of shape ``(B, M)``, True for padding, or None.
        tck_pad: Boolean mask of shape ``(B, K)``, True for padding, or None.
    """

    obj_logits: Tensor
    obj_boxes_cxcywh: Tensor
    tck_logits: Tensor
    tck_boxes_cxcywh: Tensor
    score_logits: Tensor | None
    obj_match: Tensor
    tck_match: Tensor
    targets: FrameTargets
    obj_pad: Tensor | None = None
    tck_pad: Tensor | None = None


def association_loss(
    score_logits: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    positive_weight: float = 1.0,
    count: Tensor | None = None,
) -> Tensor:
    r"""Compute the binary cross-entropy of the association scores, averaged over the valid pairs.

    .. math::

        L = -\frac{1}{|V|} \sum_{(i, j) \in V} \left( w \, y_{ij} \log \sigma(s_{ij}) + (1 - y_{ij}) \log (1 -
        \sigma(s_{ij})) \right)

    LA-MOTR (ICCV 2025, Section 3.3). Computed in at least float32. Without valid pairs the loss is 0 and connected to
    the graph, so that every process of a distributed training has a gradient.

    Args:
        score_logits: Logits of the scores, of shape ``(..., M, K)``.
        target: Labels of shape ``(..., M, K)``, boolean or 0 and 1.
        valid: Boolean mask that broadcasts to ``(..., M, K)``, False for pairs to ignore. None means all count.
        positive_weight: Weight ``w`` of the positive pairs.
        count: Divisor. None means the number of valid pairs, at least 1.

    >>> logits, target = torch.tensor([[0.0, 2.0]]), torch.tensor([[False, True]])
    >>> round(association_loss(logits, target).item(), 4)  # (log 2 + log(1 + e^-2)) / 2
    0.41
    """
    logits = score_logits.to(torch.promote_types(score_logits.dtype, torch.float32))
    counted = torch.ones_like(logits, dtype=torch.bool) if valid is None else valid.expand_as(logits)
    weight = logits.new_tensor(positive_weight)
    each = F.binary_cross_entropy_with_logits(
        logits.masked_fill(~counted, 0), target.to(logits.dtype), pos_weight=weight, reduction="none"
    )
    return each.where(counted, 0).sum() / (counted.sum().clamp(min=1) if count is None else count)


def decoupled_loss(
    frames: Sequence[DecoupledFrame], settings: LossSettings | None = None, count: Tensor | None = None
) -> dict[str, Tensor]:
    r"""Compute the loss of a clip, term by term (LA-MOTR, ICCV 2025, Eq. 1).

    .. math::

        L = \sum_{t=1}^{T} \left( \lambda_{det} L^t_{det} + \lambda_{tck} L^t_{tck} \right) +
        \sum_{t=2}^{T} \lambda_{asso} L^t_{asso}

    Detection and tracking terms are focal, L1 and GIoU losses of the objects and of the tracklets. A tracklet whose
    object is absent counts as background. The first frame has no tracklets, thus only a detection term.

    Args:
        frames: Frames of the clip, in order.
        settings: Weights.
        count: Divisor of the detection and tracking terms. By default, the number of ground-truth objects of the clip,
            averaged over the processes of a distributed training, and at least 1.

    Returns:
        Weighted terms by name: ``detection_1``, ``detection_2``, ``tracking_2``, ``association_2``, ... Their sum is
        the loss.

    Raises:
        ValueError: If there are no frames.

    >>> boxes, index = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), torch.zeros(1, 1, dtype=torch.int64)
    >>> targets = FrameTargets(boxes, index, index, index == 0)
    >>> frame = DecoupledFrame(*[torch.zeros(1, 1, 1), boxes] * 2, torch.zeros(1, 1, 1), index, index, targets)
    >>> {name: round(loss.item(), 4) for name, loss in decoupled_loss([frame, frame]).items()}
    {'detection_1': 0.0433, 'detection_2': 0.0433, 'tracking_2': 0.0433, 'association_2': 6.9315}
    """
    settings = settings or LossSettings()
    if not frames:
        raise ValueError("frames: expected at least one frame, got none")
    if count is None:
        count = mean_over_processes(torch.stack([frame.targets.valid.sum() for frame in frames]).sum())
    terms = {}
    for number, frame in enumerate(frames, 1):
        found = (frame.obj_logits, frame.obj_boxes_cxcywh, frame.obj_match, frame.obj_pad)
        terms[f"detection_{number}"] = settings.detection_weight * _set_loss(*found, frame.targets, settings) / count
        if number == 1:
            continue
        tracked = (frame.tck_logits, frame.tck_boxes_cxcywh, frame.tck_match, frame.tck_pad)
        terms[f"tracking_{number}"] = settings.tracking_weight * _set_loss(*tracked, frame.targets, settings) / count
        if frame.score_logits is not None:
            loss = frame_association_loss(frame, settings.pairs, settings.positive_weight)
            terms[f"association_{number}"] = settings.association_weight * loss
    return terms


def frame_association_loss(frame: DecoupledFrame, pairs: Pairs = "all", positive_weight: float = 1.0) -> Tensor:
    """Compute :func:`association_loss` of a frame, averaged over the pairs of all processes of a training.

    Args:
        frame: Frame with scores and matches.
        pairs: Pairs that count; see :class:`LossSettings`.
        positive_weight: Weight of positive pairs.

    Raises:
        ValueError: If the frame has no scores.

    >>> boxes, index = torch.rand(1, 3, 4), torch.tensor([[0, -1, -1]])
    >>> targets = FrameTargets(boxes[:, :1], index[:, :1], index[:, :1], index[:, :1] == 0)
    >>> frame = DecoupledFrame(boxes[..., :1], boxes, boxes[:, :1, :1], boxes[:, :1], torch.zeros(1, 3, 1), index,
    ...     index[:, :1], targets)
    >>> round(frame_association_loss(frame).item(), 4)
    0.6931
    """
    if frame.score_logits is None:
        raise ValueError("frame.score_logits: expected the association logits of the frame, got None")
    valid = valid_pairs(frame, pairs)
    target = association_targets(frame.obj_match, frame.tck_match)
    return association_loss(frame.score_logits, target, valid, positive_weight, mean_over_processes(valid.sum()))


def valid_pairs(frame: DecoupledFrame, pairs: Pairs = "all") -> Tensor:
    """Return the pairs that count in the association loss, of shape ``(B, M, K)``.

    >>> boxes, index = torch.rand(1, 3, 4), torch.tensor([[0, -1, -1]])
    >>> targets = FrameTargets(boxes[:, :1], index[:, :1], index[:, :1], index[:, :1] == 0)
    >>> logits = torch.tensor([[[-1.0], [1.0], [-1.0]]])
    >>> frame = DecoupledFrame(logits, boxes, logits[:, :1], boxes[:, :1], torch.zeros(1, 3, 1), index, index[:, :1],
    ...     targets)
    >>> valid_pairs(frame).sum().item(), valid_pairs(frame, "foreground").flatten().tolist()
    (3, [True, True, False])
    """
    rows = torch.ones_like(frame.obj_match, dtype=torch.bool) if frame.obj_pad is None else ~frame.obj_pad
    columns = torch.ones_like(frame.tck_match, dtype=torch.bool) if frame.tck_pad is None else ~frame.tck_pad
    if pairs == "foreground":
        rows = rows & ((frame.obj_match >= 0) | (frame.obj_logits.detach().amax(-1) > 0))
    return rows[..., :, None] & columns[..., None, :]


def _set_loss(
    logits: Tensor, boxes: Tensor, match: Tensor, pad: Tensor | None, targets: FrameTargets, settings: LossSettings
) -> Tensor:
    if pad is not None:  # a padded slot may contain NaN
        logits, match = logits.masked_fill(pad[..., None], 0), match.masked_fill(pad, -1)
    valid = None if pad is None else ~pad
    losses = detection_losses(logits, boxes, match, targets, valid)
    return (
        settings.class_weight * losses["class"]
        + settings.l1_weight * losses["l1"]
        + settings.giou_weight * losses["giou"]
    )
