"""What the mean over clips takes in a training of several processes."""

from __future__ import annotations

import torch
import torch.distributed as dist

from unitrack_loss.clip import TrackClip


def share_of_clips(clip: TrackClip) -> torch.Tensor | float:
    """How many clips count in this process, over the mean of all processes; 1 in a training of one.

    A loss that is multiplied with it has, once DDP has averaged gradients, those of one process with all clips. Every
    process has to ask, also with clips that hold nothing.

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
