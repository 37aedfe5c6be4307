"""DETR and its relatives, of Hugging Face too: queries with boxes and classes."""

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
    """A frame of a detector with queries, for :meth:`unitrack_loss.TrackClip.from_frames`.

    Args:
        outputs: of Hugging Face, with ``logits (B, N, K)``, ``pred_boxes (B, N, 4)`` (centre and size in [0, 1]) and
            ``last_hidden_state (B, N, C)``; or a dictionary with ``pred_logits``, ``pred_boxes`` and ``hs_embed``,
            ``outputs`` or nothing.
        target: of this image, ``boxes (G, 4)`` and ``track_ids (G,)``; -1 where an identity is unknown.
        indices: the queries and objects that the matcher joined, ``(n,)`` each.
        image_size: height and width in pixels.
        row: of the image in the batch.
        background: column of the background where classes are a softmax (-1 in DETR); None where each has a sigmoid.
        min_score: queries without an object are detections from this score.

    Raises:
        TypeError: outputs have no logits, or identities are in half precision.

    >>> outputs = {"pred_logits": torch.tensor([[[2.0], [-9.0]]]), "pred_boxes": torch.rand(1, 2, 4)}
    >>> target = {"boxes": torch.rand(1, 4), "track_ids": torch.tensor([5])}
    >>> detr_frame(outputs, target, (torch.tensor([1]), torch.tensor([0])), (480, 640))["det_gt"]
    tensor([-1,  5])
    """
    logits = _field(outputs, "logits", "pred_logits")
    boxes = _field(outputs, "pred_boxes")
    if logits is None or boxes is None:
        raise TypeError(f"outputs must have logits or pred_logits, and pred_boxes; got {type(outputs).__name__}")
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
    """The first of the names that a dictionary or an object has."""
    for name in names:
        value = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if value is not None:
            return value
    return None
