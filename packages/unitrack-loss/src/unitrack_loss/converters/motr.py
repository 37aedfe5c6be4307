"""Converter for MOTR and its fork MOTE, from the ``Instances`` of track queries after matching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unitrack_loss.converters._common import FrameDict, integers, query_frame


def motr_frame(
    track_instances: Any, gt_instances: Any, image_size: Sequence[float], min_score: float = 0.1
) -> FrameDict:
    """Convert a frame of MOTR, MOTE or another fork for :meth:`unitrack_loss.TrackClip.from_frames`.

    Call this at the end of ``ClipMatcher.match_for_single_frame``, before tracks are filtered and boxes removed.

    Args:
        track_instances: Track queries, with ``pred_boxes (N, 4)`` (center and size in [0, 1]), ``pred_logits (N, 1)``,
            ``output_embedding (N, C)``, ``obj_idxes (N,)`` and ``matched_gt_idxes (N,)``.
        gt_instances: Objects, with ``boxes (G, 4)`` and ``obj_ids (G,)``.
        image_size: Image height and width in pixels.
        min_score: Minimum score for a query without an object to count as a detection; tracks always count.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> tracks = SimpleNamespace(pred_boxes=torch.rand(3, 4), pred_logits=torch.full((3, 1), -9.0),
    ...     output_embedding=torch.rand(3, 8), obj_idxes=torch.tensor([-1, 7, 4]),
    ...     matched_gt_idxes=torch.tensor([-1, 0, -1]))
    >>> truth = SimpleNamespace(boxes=torch.rand(1, 4), obj_ids=torch.tensor([7.0]))
    >>> motr_frame(tracks, truth, (608, 1088))["det_gt"]  # object 7, and a track whose object has left
    tensor([ 7, -1])
    """
    # -2 marks an artificial track without an object.
    is_track = track_instances.obj_idxes != -1
    return query_frame(
        track_instances.pred_boxes,
        track_instances.pred_logits.max(-1).values,
        track_instances.matched_gt_idxes.long().where(track_instances.obj_idxes >= 0, -1),
        gt_instances.boxes,
        integers("gt_instances.obj_ids", gt_instances.obj_ids),
        image_size,
        track_instances.output_embedding,
        is_track,
        min_score,
    )
