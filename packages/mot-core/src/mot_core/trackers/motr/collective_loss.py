"""Collective average loss of MOTR: matching and supervision per frame, averaged over all objects of a clip."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mot_core.nn import HungarianMatcher, detection_losses
from mot_core.slots import slot_iou
from mot_core.structures import FrameOutput, FrameTargets


@dataclass(frozen=True)
class CollectiveLoss:
    """Assign tracks to the object of their identity, and match free slots to objects without a track.

    MOTR (Zeng et al. 2022, arXiv 2105.03247), Sections 3.3 and 3.5. A track whose object has left is supervised as
    background. Earlier layers (``frame.aux``) match the free slots again, to the same objects; layers that do not
    decode tracks match them to all objects. Ignored regions are not objects; slots on them are background.

    Args:
        matcher: Matcher of free slots and objects.
        all_objects: Whether slots without a track are matched to all objects, so that an object can have two slots.
        rematch_tracks: Whether a track without identity may match a new object. Otherwise it is background.
        merge_layer: First layer that decodes tracks.
        count_vanished: Whether tracks whose object has left are counted in the divisor.

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
    rematch_tracks: bool = True
    merge_layer: int = 0
    count_vanished: bool = True

    def __call__(
        self, frame: FrameOutput, targets: FrameTargets
    ) -> tuple[FrameOutput, list[dict[str, Tensor]], Tensor]:
        """Match one frame of each clip and compute its losses.

        Args:
            frame: Predictions, with the identities of tracks in ``track_ids``.
            targets: Ground-truth objects of the frame.

        Returns:
            The frame with ``gt_index`` and ``iou``; for each layer in order, ``class``, ``l1`` and ``giou`` summed over
            the batch, unweighted; and their divisor, the number of objects plus, with ``count_vanished``, of tracks
            whose object has left.
        """
        layers = [*frame.aux, frame]
        matchings = self.match(frame, targets)
        matched = replace(frame, gt_index=matchings[-1])
        losses = [
            detection_losses(layer.logits, layer.boxes_cxcywh, gt_index, targets, layer.valid)
            for layer, gt_index in zip(layers, matchings, strict=True)
        ]
        count = targets.valid.sum() + vanished(matched).sum() * self.count_vanished
        return replace(matched, iou=slot_iou(matched, targets).detach()), losses, count

    @torch.no_grad()
    def match(self, frame: FrameOutput, targets: FrameTargets) -> Tensor:
        """Return the index of the object of every slot in every layer, ``(layers, B, N)``; -1 for none."""
        identified = targets.valid & (targets.ids >= 0)
        carries = frame.valid & frame.is_track & (frame.track_ids >= 0)
        same = frame.track_ids[:, :, None] == targets.ids[:, None, :]
        same &= carries[:, :, None] & identified[:, None, :]
        followed = same.any(1)
        # A false positive kept as a query has no identity, so it may match a new object.
        rematch = self.rematch_tracks and not self.all_objects
        layers = [*frame.aux, frame]
        merged = torch.arange(len(layers), device=same.device)[:, None, None] >= self.merge_layer
        free_slots = frame.valid & torch.where(merged, ~carries if rematch else ~frame.is_track, ~frame.is_track)
        free_targets = targets.valid & ~(merged & followed & (not self.all_objects))
        found = self._match_layers(layers, targets, free_slots, free_targets)
        if not same.shape[-1]:
            return found
        own = same.to(torch.uint8).argmax(-1).where(same.any(-1), -1)
        return torch.where(carries & merged, own, found)

    def _match_layers(
        self, layers: list[FrameOutput], targets: FrameTargets, free_slots: Tensor, free_targets: Tensor
    ) -> Tensor:
        """Match all layers in one call, because every call waits for the device; errors report the last layer first.

        The masks of free slots and targets have one entry per layer, ``(layers, B, N)`` and ``(layers, B, G)``.
        """
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
            free_slots.flip(0).flatten(0, 1),
            free_targets.flip(0).flatten(0, 1),
        )
        return torch.stack(found.chunk(times)).flip(0)


def vanished(frame: FrameOutput) -> Tensor:
    """Return a mask ``(B, N)`` of tracks whose object is not in the frame, which must be matched.

    >>> slots = torch.rand(1, 2, 4), torch.zeros(1, 2, 1), torch.ones(1, 2).bool(), torch.ones(1, 2), torch.tensor([1])
    >>> is_track = torch.tensor([[False, True]])
    >>> vanished(FrameOutput(*slots, is_track=is_track, track_ids=torch.tensor([[-1, 3]])))
    tensor([[False,  True]])
    """
    return frame.valid & frame.is_track & (frame.track_ids >= 0) & (frame.gt_index < 0)
