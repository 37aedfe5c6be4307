"""Converter for DETR and related detectors with queries, including those of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unitrack_loss.converters._common import FrameDict, foreground_logit, integers, query_frame


def detr_frame(
    outputs: Any,
    target: Mapping[str, Tensor],
    indices: Sequence[Tensor],
    image_size: Sequence[float],
    row: int = 0,
    background: int | None = None,
    min_score: float = 0.1,
) -> FrameDict:
    """Convert a frame of a query-based detector for :meth:`unitrack_loss.TrackClip.from_frames`.

    Args:
        outputs: Output of Hugging Face with ``logits (B, N, K)``, ``pred_boxes (B, N, 4)`` (center and size in [0, 1])
            and ``last_hidden_state (B, N, C)``; or a dictionary with ``pred_logits``, ``pred_boxes`` and optionally
            ``hs_embed`` or ``outputs``.
        target: Target of the image: ``boxes (G, 4)`` and ``track_ids (G,)``, -1 where an identity is unknown.
        indices: Queries and objects matched by the tracker's matcher, ``(n,)`` each.
        image_size: Image height and width in pixels.
        row: Index of the image in the batch.
        background: Background column if classes are a softmax (-1 in DETR); None if every class has a sigmoid.
        min_score: Minimum score for a query without an object to count as a detection.

    Raises:
        TypeError: If the outputs have no logits or boxes, or identities are in half precision.

    >>> outputs = {"pred_logits": torch.tensor([[[2.0], [-9.0]]]), "pred_boxes": torch.rand(1, 2, 4)}
    >>> target = {"boxes": torch.rand(1, 4), "track_ids": torch.tensor([5])}
    >>> detr_frame(outputs, target, (torch.tensor([1]), torch.tensor([0])), (480, 640))["det_gt"]
    tensor([-1,  5])
    """
    logits = _field(outputs, "logits", "pred_logits")
    boxes = _field(outputs, "pred_boxes")
    if logits is None or boxes is None:
        raise TypeError(f"outputs: expected logits or pred_logits, and pred_boxes, got {type(outputs).__name__}")
    embed = _field(outputs, "last_hidden_state", "hs_embed", "outputs")
    queries, objects = indices
    gt_index = torch.full(logits.shape[1:2], -1, device=logits.device)
    gt_index[queries] = objects.to(gt_index)
    scores = logits[row].max(-1).values if background is None else foreground_logit(logits[row], background)
    return query_frame(
        boxes[row],
        scores,
        gt_index,
        target["boxes"],
        integers("target['track_ids']", target["track_ids"]),
        image_size,
        None if embed is None else embed[row],
        min_score=min_score,
    )


def _field(outputs: Any, *names: str) -> Tensor | None:
    """Return the first available field of a dictionary or an object."""
    for name in names:
        value = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if value is not None:
            return value
    return None
