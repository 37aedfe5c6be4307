"""Averaging over clips in distributed training."""

from __future__ import annotations

import torch
import torch.distributed as dist

from unitrack_loss.clip import TrackClip


def share_of_clips(clip: TrackClip) -> torch.Tensor | float:
    """Number of clips that count in this process, divided by the mean over all processes; 1 for a single process.

    A loss multiplied with this factor has, after DDP has averaged the gradients, the gradient of a single process with
    all clips. Every process must call this function, even if none of its clips counts.

    >>> ids = torch.tensor([[[5], [5]]])
    >>> boxes = torch.zeros(1, 2, 1, 4)
    >>> share_of_clips(TrackClip(boxes, ids.float(), ids > 0, ids, boxes, ids, torch.tensor([[480, 640]])))
    1.0
    """
    if not (dist.is_available() and dist.is_initialized()):
        return 1.0
    detections = clip.valid.sum(2)
    here = (detections[:, :-1] * detections[:, 1:] > 0).any(1).sum().to(torch.float32)
    everywhere = here.clone()
    dist.all_reduce(everywhere)
    return here * dist.get_world_size() / everywhere.clamp(min=1)
