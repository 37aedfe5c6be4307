"""FairMOT: dense maps, read at the centres of the objects."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.converters._common import precise


def fairmot_clip(output: Mapping[str, Tensor], batch: Mapping[str, Tensor], stride: int = 4) -> TrackClip:
    """A clip of FairMOT: the images of the batch are the frames of one video, in order.

    FairMOT's own loader gives single images of any video: with it there is no time, and nothing to learn.

    Args:
        output: of the model, ``hm (T, 1, h, w)`` before the sigmoid, ``wh (T, 4, h, w)`` (left, top, right, bottom),
            ``reg (T, 2, h, w)`` and ``id (T, C, h, w)``.
        batch: ``ind (T, K)``, ``reg_mask (T, K)``, ``ids (T, K)`` with -1 where unknown, and ``bbox (T, K, 4)``
            (corners in cells of the maps).
        stride: pixels per cell.

    Raises:
        ValueError: ``hm`` went through the sigmoid already: the loss does this in place, so call it before; or ``wh``
            has not four channels.

    >>> maps = {"hm": torch.full((2, 1, 4, 8), -2.0), "wh": torch.ones(2, 4, 4, 8), "reg": torch.zeros(2, 2, 4, 8),
    ...     "id": torch.rand(2, 16, 4, 8)}
    >>> batch = {"ind": torch.tensor([[10], [11]]), "reg_mask": torch.ones(2, 1), "ids": torch.tensor([[3], [3]]),
    ...     "bbox": torch.tensor([[[1.0, 0.0, 3.0, 2.0]], [[2.0, 0.0, 4.0, 2.0]]])}
    >>> fairmot_clip(maps, batch).boxes_xyxy[0, 0]  # the cell (2, 1), one cell to each side
    tensor([[ 4.,  0., 12.,  8.]])
    """
    heat = output["hm"]
    if heat.numel() and bool((heat >= 0).all() & (heat <= 1).all()):
        raise ValueError("output['hm'] must be logits, got numbers in [0, 1]; convert before the loss, which alters it")
    if output["wh"].shape[1] != 4:
        raise ValueError(f"output['wh'] must have 4 channels (train with --ltrb), got {output['wh'].shape[1]}")
    height, width = heat.shape[-2:]
    index = batch["ind"].long()
    known = (batch["reg_mask"] > 0) & (batch["ids"] >= 0)  # people without identity are not false positives
    cells = torch.stack([index % width, index // width], -1)
    centers = cells + precise(_gather(output["reg"], index))
    sides = precise(_gather(output["wh"], index))
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
    """``maps (T, C, h, w)`` at the cells ``index (T, K)``: ``(T, K, C)``."""
    flat = maps.flatten(2).transpose(1, 2)
    return flat.gather(1, index[..., None].expand(-1, -1, flat.shape[2]))
