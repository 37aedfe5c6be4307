"""MOTR's collective loss: what is matched and supervised in each frame, on average over all objects of the clip."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mot_core.nn import HungarianMatcher, detection_losses
from mot_core.slots import slot_iou
from mot_core.structures import FrameOutput, FrameTargets


@dataclass(frozen=True)
class CollectiveLoss:
    """Tracks take the object of their identity; free slots are matched to the objects that no track follows.

    Zeng et al. 2022 (MOTR, arXiv 2105.03247), sections 3.3 and 3.5. A track whose object is gone is supervised as
    background. Earlier layers (``frame.aux``) match the free slots anew, to the same objects. Regions that are to be
    ignored are no objects; slots on them are background.

    Args:
        matcher: assigns free slots to objects.
        all_objects: match the slots without a track to all objects; one can then have two slots.

    >>> boxes, ids = torch.tensor([[[0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2]]]), torch.tensor([[8, 9]])
    >>> targets = FrameTargets(boxes, torch.zeros_like(ids), ids, ids > 0)
    >>> track = torch.tensor([[False, True]])
    >>> frame = FrameOutput(boxes, torch.zeros(1, 2, 1), track | True, torch.ones(1, 2), torch.ones(1).long(),
    ...                     is_track=track, track_ids=torch.tensor([[-1, 8]]))
    >>> matched, layers, count = CollectiveLoss()(frame, targets)
    >>> matched.gt_index, round(layers[-1]["l1"].item(), 1), count.item()
    (tensor([[1, 0]]), 1.6, 2)
    """

    matcher: HungarianMatcher = field(default_factory=HungarianMatcher)
    all_objects: bool = False

    def __call__(
        self, frame: FrameOutput, targets: FrameTargets
    ) -> tuple[FrameOutput, list[dict[str, Tensor]], Tensor]:
        """Matches a frame of each clip and computes its losses.

        Args:
            frame: predictions, with the identities that tracks carry in ``track_ids``.
            targets: objects of the frame.

        Returns:
            The frame with ``gt_index`` and ``iou``; for each layer, the last one last, ``class``, ``l1`` and ``giou``
            summed over the batch, without weights; and by how many they are to be divided: the number of objects and
            of tracks whose object is gone.
        """
        layers = [*frame.aux, frame]
        matchings = self.match(frame, targets)
        matched = replace(frame, gt_index=matchings[-1])
        losses = [
            detection_losses(layer.logits, layer.boxes_cxcywh, gt_index, targets, frame.valid)
            for layer, gt_index in zip(layers, matchings, strict=True)
        ]
        count = targets.valid.sum() + vanished(matched).sum()
        return replace(matched, iou=slot_iou(matched, targets).detach()), losses, count

    @torch.no_grad()
    def match(self, frame: FrameOutput, targets: FrameTargets) -> Tensor:
        """The object of every slot in every layer, ``(layers, B, N)``; -1 for none."""
        identified = targets.valid & (targets.ids >= 0)
        carries = frame.valid & frame.is_track & (frame.track_ids >= 0)
        same = frame.track_ids[:, :, None] == targets.ids[:, None, :]
        same &= carries[:, :, None] & identified[:, None, :]
        followed = same.any(1)
        # A false positive that went on as a query may find a new object: it carries no identity.
        free_slots = frame.valid & (~frame.is_track if self.all_objects else ~carries)
        free_targets = targets.valid if self.all_objects else targets.valid & ~followed
        layers = [*frame.aux, frame]
        found = self._match_layers(layers, targets, free_slots, free_targets)
        if not same.shape[-1]:
            return found
        own = same.to(torch.uint8).argmax(-1).where(same.any(-1), -1)
        return torch.where(carries, own, found)

    def _match_layers(
        self, layers: list[FrameOutput], targets: FrameTargets, free_slots: Tensor, free_targets: Tensor
    ) -> Tensor:
        """All layers at once: every call of the matcher waits for the device. The last layer is the first in errors."""
        times = len(layers)
        order = layers[::-1]
        repeated = FrameTargets(
            targets.boxes_cxcywh.repeat(times, 1, 1),
            targets.labels.repeat(times, 1),
            targets.ids.repeat(times, 1),
            targets.valid.repeat(times, 1),
        )
        found = self.matcher(
            torch.cat([layer.logits for layer in order]),
            torch.cat([layer.boxes_cxcywh for layer in order]),
            repeated,
            free_slots.repeat(times, 1),
            free_targets.repeat(times, 1),
        )
        return torch.stack(found.chunk(times)).flip(0)


def vanished(frame: FrameOutput) -> Tensor:
    """Tracks whose object is not in the frame, ``(B, N)`` bool; the frame must be matched.

    >>> slots = torch.rand(1, 2, 4), torch.zeros(1, 2, 1), torch.ones(1, 2).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> is_track = torch.tensor([[False, True]])
    >>> vanished(FrameOutput(*slots, is_track=is_track, track_ids=torch.tensor([[-1, 3]])))
    tensor([[False,  True]])
    """
    return frame.valid & frame.is_track & (frame.track_ids >= 0) & (frame.gt_index < 0)
