"""Converter for TrackFormer, from outputs, targets and matcher indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unitrack_loss.converters._common import FrameDict, foreground_logit, integers, query_frame


def trackformer_frame(
    outputs: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    indices: Sequence[Tensor],
    image_size: Sequence[float],
    row: int = 0,
    focal: bool = True,
    min_score: float = 0.1,
) -> FrameDict:
    """Convert a frame of TrackFormer for :meth:`unitrack_loss.TrackClip.from_frames`.

    Args:
        outputs: Output of the model on this frame: ``pred_logits (B, N, K)``, whose column 0 is the person class,
            ``pred_boxes (B, N, 4)`` (center and size in [0, 1]) and ``hs_embed (B, N, C)``.
        target: Target of the image: ``boxes (G, 4)``, ``track_ids (G,)`` and, if the frame was decoded with track
            queries, ``track_queries_mask (N,)``.
        indices: Output of ``criterion.matcher(outputs, targets)`` for this image.
        image_size: Image height and width in pixels.
        row: Index of the image in the batch.
        focal: Whether the model was trained with the focal loss; otherwise classes are a softmax whose last column is
            the background.
        min_score: Minimum score for a query without an object to count as a detection; track queries always count.

    >>> outputs = {"pred_logits": torch.full((1, 3, 19), -9.0), "pred_boxes": torch.rand(1, 3, 4),
    ...     "hs_embed": torch.rand(1, 3, 8)}
    >>> target = {"boxes": torch.rand(2, 4), "track_ids": torch.tensor([4, 6]),
    ...     "track_queries_mask": torch.tensor([True, True, False])}
    >>> trackformer_frame(outputs, target, (torch.tensor([1, 2]), torch.tensor([1, 0])), (800, 1333))["det_gt"]
    tensor([-1,  6,  4])
    """
    queries, objects = indices
    logits = outputs["pred_logits"][row]
    gt_index = torch.full(logits.shape[:1], -1, device=logits.device)
    gt_index[queries] = objects.to(gt_index)
    return query_frame(
        outputs["pred_boxes"][row],
        # Every class but the person counts as background for tracking.
        logits[:, 0] if focal else -foreground_logit(logits, background=0),
        gt_index,
        target["boxes"],
        integers("target['track_ids']", target["track_ids"]),
        image_size,
        outputs["hs_embed"][row],
        target.get("track_queries_mask"),
        min_score,
    )
