"""Converter for FairMOT, which reads its dense maps at the object centers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.converters._common import precise


def fairmot_clip(output: Mapping[str, Tensor], batch: Mapping[str, Tensor], stride: int = 4) -> TrackClip:
    """Convert a FairMOT batch whose images are the consecutive frames of one video.

    FairMOT's own loader returns shuffled single images, on which the loss has nothing to learn.

    Args:
        output: Output of the model: ``hm (T, 1, h, w)`` before the sigmoid, ``wh (T, 4, h, w)`` (left, top, right,
            bottom), ``reg (T, 2, h, w)`` and ``id (T, C, h, w)``.
        batch: Targets: ``ind (T, K)``, ``reg_mask (T, K)``, ``ids (T, K)`` with -1 where unknown, and ``bbox (T, K,
            4)`` (corners in map cells).
        stride: Pixels per map cell.

    Raises:
        ValueError: If ``hm`` has already passed the sigmoid, which FairMOT's loss applies in place, or ``wh`` does not
            have four channels.

    >>> maps = {"hm": torch.full((2, 1, 4, 8), -2.0), "wh": torch.ones(2, 4, 4, 8), "reg": torch.zeros(2, 2, 4, 8),
    ...     "id": torch.rand(2, 16, 4, 8)}
    >>> batch = {"ind": torch.tensor([[10], [11]]), "reg_mask": torch.ones(2, 1), "ids": torch.tensor([[3], [3]]),
    ...     "bbox": torch.tensor([[[1.0, 0.0, 3.0, 2.0]], [[2.0, 0.0, 4.0, 2.0]]])}
    >>> fairmot_clip(maps, batch).boxes_xyxy[0, 0]  # cell (2, 1) and one cell to each side
    tensor([[ 4.,  0., 12.,  8.]])
    """
    heat = output["hm"]
    if heat.numel() and bool((heat >= 0).all() & (heat <= 1).all()):
        raise ValueError(
            "output['hm']: expected logits, got values in [0, 1]; convert before FairMOT's loss, which modifies it"
        )
    if output["wh"].shape[1] != 4:
        raise ValueError(f"output['wh']: expected 4 channels, got {output['wh'].shape[1]}; train with --ltrb")
    height, width = heat.shape[-2:]
    index = batch["ind"].long()
    known = (batch["reg_mask"] > 0) & (batch["ids"] >= 0)  # objects of unknown identity are not false positives
    cells = torch.stack([index % width, index // width], -1)
    centers = cells + precise(_gather(output["reg"], index))
    sides = precise(_gather(output["wh"], index)).clamp(min=0)  # an untrained head predicts negative sizes too
    ids = batch["ids"].long().where(known, -1)
    return TrackClip(
        boxes_xyxy=(torch.cat([centers - sides[..., :2], centers + sides[..., 2:]], -1) * stride)[None],
        logits=_gather(heat, index).max(-1).values[None],
        valid=known[None],
        det_gt=ids[None],
        gt_boxes_xyxy=(precise(batch["bbox"]) * stride)[None],
        gt_ids=ids[None],
        image_size=torch.tensor([[height * stride, width * stride]], device=heat.device),
        embed=_gather(output["id"], index)[None],
    )


def _gather(maps: Tensor, index: Tensor) -> Tensor:
    """Gather ``maps (T, C, h, w)`` at the cells ``index (T, K)`` as ``(T, K, C)``."""
    flat = maps.flatten(2).transpose(1, 2)
    return flat.gather(1, index[..., None].expand(-1, -1, flat.shape[2]))
