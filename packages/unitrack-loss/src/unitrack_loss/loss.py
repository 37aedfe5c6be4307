"""The UniTrack loss: a function on tensors and a module."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unitrack_loss._terms import marginals
from unitrack_loss._window_terms import window_terms
from unitrack_loss._windows import mean
from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow, flow
from unitrack_loss.graph import GroundTruthGraph, ground_truth_graph
from unitrack_loss.settings import Settings


@dataclass(frozen=True, eq=False)
class UniTrackOutput:
    """The loss, and of what it is made; tensors without dimensions, 0 where there are no pairs of detections.

    Attributes:
        total: the loss, the only one with a gradient.
        flow: mean over clips and windows of the flow term.
        spatial: of the spatial term, not weighted.
        temporal: of the temporal term, not weighted.
        conservation: of the conservation term.
        net_residual: mean over detections of ``|out - in - balance|``, the conservation as the paper writes it.
        quality: of the detections, 1 without false and missed ones.
        lambda_s: weight of the spatial term.
        lambda_t: weight of the temporal term.
        log_edges: the logarithm with which windows are multiplied.
        num_edges: right edges in all clips.
        edge_flow: mean flow of right edges, 1 for perfect tracking.
        id_accuracy: share of right edges that carry more flow than all others of their row.
    """

    total: Tensor
    flow: Tensor
    spatial: Tensor
    temporal: Tensor
    conservation: Tensor
    net_residual: Tensor
    quality: Tensor
    lambda_s: Tensor
    lambda_t: Tensor
    log_edges: Tensor
    num_edges: Tensor
    edge_flow: Tensor
    id_accuracy: Tensor


def unitrack_loss(
    boxes_xyxy: Tensor,
    logits: Tensor,
    valid: Tensor,
    det_gt: Tensor,
    gt_boxes_xyxy: Tensor,
    gt_ids: Tensor,
    image_size: Tensor,
    embed: Tensor | None = None,
    assoc_logits: Tensor | None = None,
    frame_stride: Tensor | None = None,
    **settings: Any,
) -> UniTrackOutput:
    """The UniTrack loss of a batch of clips (Galoaa et al. 2026, in the form of our specification).

    Args:
        boxes_xyxy: ``(B, T, N, 4)`` detections, in pixels.
        logits: ``(B, T, N)``.
        valid: ``(B, T, N)`` bool.
        det_gt: ``(B, T, N)`` int64 identities that the tracker's matching gave them, -1 for none.
        gt_boxes_xyxy: ``(B, T, M, 4)``.
        gt_ids: ``(B, T, M)`` int64, -1 where padded.
        image_size: ``(B, 2)`` height and width.
        embed: ``(B, T, N, D)``.
        assoc_logits: ``(B, T - 1, N, N)``, in place of ``embed``.
        frame_stride: ``(B,)`` frames between two frames of a clip.
        settings: those of :class:`Settings`.

    Raises:
        ValueError: a shape or a setting is wrong.
        TypeError: a tensor has the wrong type, or a setting does not exist.

    >>> ids = torch.tensor([[[0, 1]] * 3])
    >>> boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0], [50.0, 0.0, 60.0, 20.0]]] * 3])
    >>> embed = torch.eye(2).expand(1, 3, 2, 2)
    >>> clip = boxes, torch.full((1, 3, 2), 9.0), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]])
    >>> right = unitrack_loss(*clip, embed=embed)
    >>> wrong = unitrack_loss(*clip, embed=torch.stack([embed[:, 0], embed[:, 1].flip(1), embed[:, 2]], 1))
    >>> round(right.total.item(), 2), round(wrong.total.item(), 1), wrong.id_accuracy.item()
    (0.03, 51.6, 0.0)
    """
    tensors = boxes_xyxy, logits, valid, det_gt, gt_boxes_xyxy, gt_ids, image_size, embed, assoc_logits, frame_stride
    return _loss(TrackClip(*tensors), Settings(**settings))


class UniTrackLoss(nn.Module):
    """:func:`unitrack_loss` as a module: without parameters, without state.

    Args:
        settings: those of :class:`Settings`.

    >>> UniTrackLoss(window=3)
    UniTrackLoss(window=3)
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = Settings(**settings)

    def forward(self, clip: TrackClip) -> UniTrackOutput:
        """The loss of a batch of clips."""
        return _loss(clip, self.settings)

    def extra_repr(self) -> str:
        """The settings that are not the default."""
        default = Settings()
        changed = {name: value for name, value in vars(self.settings).items() if value != getattr(default, name)}
        return ", ".join(f"{name}={value!r}" for name, value in changed.items())


def _loss(clip: TrackClip, settings: Settings) -> UniTrackOutput:
    with torch.autocast(clip.logits.device.type, enabled=False):
        clip = clip.clean()
        if clip.valid.shape[1] < 2 or not clip.valid.shape[2]:
            return _nothing(clip)
        links = flow(clip, settings.tau, settings.null, settings.gate_confidence)
        graph = ground_truth_graph(clip.det_gt, clip.valid)
        values, counted = window_terms(clip, links, graph, settings)

        def average(value: Tensor) -> Tensor:
            """Over the windows of a clip in which there is a pair, then over the clips that have such windows."""
            per_clip = mean(value.where(counted, 0).sum(1), counted.sum(1))
            return mean(per_clip.sum(), counted.any(1).sum())

        means = {name: average(value) for name, value in values.items()}
        total = means.pop("total")
        with torch.no_grad():
            return UniTrackOutput(
                total, **{name: value.detach() for name, value in means.items()}, **_diagnostics(clip, links, graph)
            )


def _diagnostics(clip: TrackClip, links: Flow, graph: GroundTruthGraph) -> dict[str, Tensor]:
    """What :class:`UniTrackOutput` tells about all clips together; not part of the loss."""
    edges, sides = graph.edges.sum(), marginals(links)
    leaving, arriving = F.pad(sides.out, (0, 0, 0, 1)), F.pad(sides.into, (0, 0, 1, 0))
    residual = (leaving - arriving - graph.balance).abs().where(clip.valid, 0)
    found = graph.edges.gather(3, links.log_flow.argmax(3, keepdim=True)).sum()
    return {
        "net_residual": mean(residual.sum(), clip.valid.sum()),
        "num_edges": edges,
        "edge_flow": mean(links.flow.where(graph.edges, 0).sum(), edges),
        "id_accuracy": mean(found.to(residual.dtype), edges),
    }


def _nothing(clip: TrackClip) -> UniTrackOutput:
    """Of clips in which nothing can be associated: 0, with a graph for distributed training."""
    live = [one for one in (clip.boxes_xyxy, clip.logits, clip.embed, clip.assoc_logits) if one is not None]
    zero = clip.logits.new_zeros(())
    values = dict.fromkeys([one.name for one in fields(UniTrackOutput)], zero)
    values["total"] = sum((0 * one.sum() for one in live), zero)
    values["num_edges"] = zero.long()
    return UniTrackOutput(**values)
