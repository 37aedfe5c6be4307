"""Selection of the slots of a training frame that become track queries of the next frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mot_core.structures import FrameOutput


@torch.no_grad()
def augment_tracks(
    frame: FrameOutput,
    ids: Tensor,
    generators: Sequence[torch.Generator],
    false_negatives: bool,
    false_positive: float,
) -> tuple[Tensor, Tensor]:
    """Select a random subset of the matched slots, and add slots without object.

    The augmentations of TrackFormer (Meinhardt et al., CVPR 2022, arXiv:2101.02702, section 3.3). Objects without a
    track query must be detected again; queries without object must be ended.

    Args:
        frame: Matched frame.
        ids: ``(B, N)`` identities after matching.
        generators: One random generator per clip, so that clips are independent of their batch.
        false_negatives: Whether tracks are dropped. The number of kept tracks is uniform between 0 and all, as in the
            released code.
        false_positive: Probability that a kept track adds a slot without object, drawn with probabilities proportional
            to the distance between the centers of their boxes.

    Returns:
        Two ``(B, N)`` masks: slots kept with their identity, and added slots without object.

    >>> slots = torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> frame = FrameOutput(*slots, gt_index=torch.tensor([[-1, 0, -1]]))
    >>> keep, added = augment_tracks(frame, torch.tensor([[-1, 4, -1]]), [torch.Generator()], False, 1.0)
    >>> keep, added.sum()
    (tensor([[False,  True, False]]), tensor(1))
    """
    keep = (ids >= 0) & frame.valid & (frame.gt_index >= 0)
    added = torch.zeros_like(keep)
    centers = frame.boxes_cxcywh[..., :2].double().cpu()
    for clip, generator in enumerate(generators):
        rows = keep[clip].nonzero().squeeze(1).cpu()
        order = torch.randperm(len(rows), generator=generator)
        count = int(torch.randint(len(rows) + 1, (), generator=generator)) if false_negatives else len(rows)
        keep[clip, rows[order[count:]]] = False
        chance = torch.rand(len(rows), generator=generator)
        empty = frame.valid[clip] & (ids[clip] < 0) & (frame.gt_index[clip] < 0)
        free = empty.nonzero().squeeze(1).cpu()
        for row in rows[order[:count]][chance[:count] < false_positive]:
            if not len(free):
                break
            distance = (centers[clip, free] - centers[clip, row]).norm(dim=-1)
            # Boxes at the same center would leave nothing to draw from.
            drawn = int(torch.multinomial(distance + 1e-6, 1, generator=generator))
            added[clip, free[drawn]] = True
            free = torch.cat([free[:drawn], free[drawn + 1 :]])
    return keep, added
