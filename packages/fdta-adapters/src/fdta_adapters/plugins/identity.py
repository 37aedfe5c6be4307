"""The identity adapter as a plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fdta_adapters.functional.contrastive import Reduction, Weighting
from fdta_adapters.functional.similarity import inter_object_similarity
from fdta_adapters.modules.identity import IdentityAdapter, Quality
from mot_core.boxes import cxcywh_to_xyxy, giou
from mot_core.plugins import Context, Plugin
from mot_core.slots import slot_ids, slot_iou, take
from mot_core.structures import ClipOutput, FrameOutput, FrameTargets, TrackerSpec


class IdentityAdapterPlugin(Plugin):
    """Train the embeddings of a tracker with a contrastive loss between identities. No effect in tracking.

    Logs the mean cosine similarity of the projected embeddings of one identity and of different ones, and
    ``similarity_above_0.9``, the share of pairs of different objects in a frame whose embeddings are nearly equal.

    Args:
        weight: Weight of the loss. 0 changes no bit of the training.
        warmup_steps: Steps over which the weight rises linearly from 0, from the first step of training.
        start_epoch: First epoch with the loss, counted from 0; the matching of earlier epochs is too unreliable.
        tau: Temperature of the similarities; lower values concentrate on the hardest negatives.
        min_quality: Embeddings whose box overlaps its object less are ignored.
        quality: Overlap: "iou", or "giou" as in the released code.
        weighting: Weight of a pair: "harmonic" mean of the overlaps, or "none".
        reduction: "pair": mean over pairs. "anchor": mean over anchors of their means, as in the released code.
        scale_by_tau: Multiply the loss by ``tau``, as in the released code.
        chunk: Compare only frames of the same ``chunk`` consecutive frames, as in the released code. None: whole clips.
        hidden_dim: Channels of the projection. None: as many as the embeddings.
        layers: Linear layers of the projection; 0 compares the embeddings themselves.
        gather: Compare the clips of all processes in distributed training, as if they were one batch.

    >>> IdentityAdapterPlugin(weight=0.5).settings["tau"]
    0.1
    """

    name = "fdta_identity"
    requires = ("ids", "embeddings")

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        start_epoch: int = 1,
        tau: float = 0.1,
        min_quality: float = 0.5,
        quality: Quality = "iou",
        weighting: Weighting = "harmonic",
        reduction: Reduction = "pair",
        scale_by_tau: bool = False,
        chunk: int | None = None,
        hidden_dim: int | None = None,
        layers: int = 3,
        gather: bool = True,
    ) -> None:
        super().__init__(weight, warmup_steps)
        if start_epoch < 0:
            raise ValueError(f"start_epoch: expected at least 0, got {start_epoch}")
        self.start_epoch, self.hidden_dim = start_epoch, hidden_dim
        self.settings: dict[str, Any] = {
            "layers": layers, "tau": tau, "min_quality": min_quality, "quality": quality, "weighting": weighting,
            "reduction": reduction, "scale_by_tau": scale_by_tau, "chunk": chunk, "gather": gather,
        }  # fmt: skip
        IdentityAdapter(1, 1, 1, **self.settings)  # reports invalid settings now, not when training starts

    def setup(self, spec: TrackerSpec) -> Mapping[str, str]:
        """Build the projection for the embeddings of the tracker."""
        assert spec.embed_dim is not None, "required"
        width = self.hidden_dim or spec.embed_dim
        self.adapter = IdentityAdapter(spec.embed_dim, width, width, **self.settings)
        return {}

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Compute the contrastive loss of all embeddings with an identity, in all frames and clips of the batch.

        Clips of one video are not compared with each other: an object may be in both.
        """
        if clip.targets is None:
            return {}
        embeddings, ids, quality, clips, frames = self._collect(clip, clip.targets)
        with torch.no_grad():
            similar = inter_object_similarity(embeddings, clips * len(clip.frames) + frames)
            ctx.log("similarity_above_0.9", similar.above)
        if ctx.epoch < self.start_epoch:
            nothing = sum((0 * one.sum() for one in self.parameters()), embeddings.new_zeros(()))
            return {"loss": 0 * embeddings[:0].sum() + nothing}
        # Identities of different clips differ.
        unique = ids + clips * (ids.max() + 1 if len(ids) else 0)
        output = self.adapter(embeddings, unique, quality, frames, _source(clip, clips))
        ctx.log("pairs", output.num_pairs.float())
        ctx.log("similarity_same", output.mean_pos_sim)
        ctx.log("similarity_other", output.mean_neg_sim)
        return {"loss": output.loss}

    def _collect(
        self, clip: ClipOutput, targets: list[FrameTargets] | tuple[FrameTargets, ...] | Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return embeddings, identities, overlaps, clips and frames of all slots with an identity."""
        found: list[tuple[Tensor, ...]] = []
        for time, (frame, truth) in enumerate(zip(clip.frames, targets, strict=True)):
            assert frame.embeddings is not None, "required"
            ids = slot_ids(frame, truth, unique=True)
            rows, slots = (ids >= 0).nonzero(as_tuple=True)
            overlap = slot_iou(frame, truth) if self.adapter.quality == "iou" else _slot_giou(frame, truth)
            values = frame.embeddings, ids, overlap.detach()
            found.append((*(value[rows, slots] for value in values), rows, torch.full_like(rows, time)))
        embeddings, ids, quality, clips, frames = (torch.cat(parts) for parts in zip(*found, strict=True))
        return embeddings, ids, quality, clips, frames


def _source(clip: ClipOutput, clips: Tensor) -> Tensor | None:
    """Return the clip and the video of each embedding, ``(N, 2)``; None if the videos are unknown."""
    numbers = clip.sequence_numbers
    return None if numbers is None else torch.stack([clips, clips.new_tensor(numbers)[clips]], 1)


def _slot_giou(frame: FrameOutput, targets: FrameTargets) -> Tensor:
    """Return the generalized IoU of each slot with its object, ``(B, N)``; 0 without an object."""
    assigned = frame.valid & (frame.gt_index >= 0)
    boxes = frame.boxes_cxcywh.detach().where(assigned[..., None], 0)
    objects = take(targets.boxes_cxcywh, frame.gt_index.clamp(min=0)).to(boxes)
    overlap: Tensor = giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(objects))
    return overlap.where(assigned, 0)
