"""UniTrack loss as a function and a module."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow, flow
from unitrack_loss.graph import GroundTruthGraph, ground_truth_graph
from unitrack_loss.settings import Settings
from unitrack_loss.terms.capacity import capacity_sums
from unitrack_loss.terms.identity import IdentitySums, identity_sums
from unitrack_loss.terms.sums import marginals
from unitrack_loss.terms.window_terms import window_terms
from unitrack_loss.terms.windows import mean

OF_PAPER = (
    "flow",
    "spatial",
    "temporal",
    "conservation",
    "net_residual",
    "quality",
    "lambda_s",
    "lambda_t",
    "log_edges",
)
OF_IDENTITY = ("identity", "far_accuracy", "place_accuracy", "far_place_accuracy")
OF_CAPACITY = ("capacity",)
OF_BOTH = ("duplicates",)
OF_EDGES = ("num_edges", "edge_flow", "id_accuracy")


@dataclass(frozen=True, eq=False)
class UniTrackOutput:
    """Loss and diagnostics as scalar tensors; 0 if there are no pairs of detections.

    Attributes:
        total: Loss, the only entry with a gradient.
        flow: Flow term, averaged over clips and windows.
        spatial: Spatial term, unweighted.
        temporal: Temporal term, unweighted.
        conservation: Conservation term.
        net_residual: Mean ``|out - in - balance|`` over detections, the residual of the paper's conservation
            constraint.
        quality: Detection quality; 1 without false positives and missed objects.
        lambda_s: Weight of the spatial term.
        lambda_t: Weight of the temporal term.
        log_edges: Logarithmic factor ``log(1 + candidate edges)`` of the windows.
        num_edges: Number of correct edges in all clips: of detections of one object, over all gaps and in both
            directions with the identity flow, otherwise from each frame to the next.
        edge_flow: Mean flow of correct edges, in the identity flow their mean probability; 1 for perfect tracking.
        id_accuracy: Share of correct edges with the largest flow of their row.
        identity: Identity flow, averaged over detections and other frames, then over clips; 0 if its weight is 0.
        far_accuracy: ``id_accuracy`` of the edges of the identity flow that span more than one frame.
        place_accuracy: Share of the edges of the identity flow whose end is the nearest object to their start, as a
            comparison for ``id_accuracy``.
        far_place_accuracy: The same for edges that span more than one frame, for ``far_accuracy``.
        capacity: Capacity term, averaged over assigned detections, then over clips; 0 if its weight is 0.
        duplicates: Second detections per detected object; 0 if the weights of both these terms are 0.
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
    identity: Tensor
    far_accuracy: Tensor
    place_accuracy: Tensor
    far_place_accuracy: Tensor
    capacity: Tensor
    duplicates: Tensor


OUTPUTS = tuple(one.name for one in fields(UniTrackOutput))


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
    video: Tensor | None = None,
    **settings: Any,
) -> UniTrackOutput:
    """Compute the UniTrack loss of a batch of clips.

    By default, it is the identity flow, the cross-entropy of every detection's identity in every other frame of the
    clip, averaged over the detections of a clip and over clips.

    With ``preset="paper"``, it has the terms of the paper instead. For every window of ``window`` frames with candidate
    edges ``E``::

        L     = L_flow + lambda_s L_spatial + lambda_t L_temporal + mu L_conservation
        total = L log(1 + |E|)

    averaged over the windows of a clip and over clips. The flow term is ``(1 - q) + q mean(-log F)`` over the correct
    edges, with the detection quality ``q = exp(-alpha FP / P - alpha FN / GT)``, which has no gradient.

    The method is UniTrack: Differentiable Graph Representation Learning for Multi-Object Tracking (Galoaa et al., ICLR
    2026, arXiv 2602.05037; the weights ``lambda`` are its Eq. 8). The identity flow is our formulation on the paper's
    graph. ``docs/methods/unitrack.md`` writes out all terms and the differences from the paper.

    Args:
        boxes_xyxy: Boxes of the detections in pixels, ``(B, T, N, 4)``.
        logits: Foreground logits of the detections, ``(B, T, N)``.
        valid: Mask ``(B, T, N)`` bool, False where padded.
        det_gt: Identities assigned by the tracker's matching, ``(B, T, N)`` int64, -1 for none.
        gt_boxes_xyxy: Boxes of the objects in pixels, ``(B, T, M, 4)``.
        gt_ids: Identities of the objects, ``(B, T, M)`` int64, -1 where padded.
        image_size: Image height and width in pixels, ``(B, 2)``.
        embed: Embeddings of the detections, ``(B, T, N, D)``.
        assoc_logits: Association logits ``(B, T - 1, N, N)``, used in place of ``embed``.
        frame_stride: Frames between consecutive frames of a clip, ``(B,)``; 1 by default.
        video: Number of the video of each clip, ``(B,)`` int64; by default, all clips are of different videos.
        settings: Fields of :class:`Settings`.

    Returns:
        Loss and diagnostics.

    Raises:
        ValueError: If a shape or a setting is wrong, or :meth:`TrackClip.validate` finds an invalid value.
        TypeError: If a tensor has the wrong type, or a setting does not exist.

    >>> ids = torch.tensor([[[0, 1]] * 3])
    >>> boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0], [50.0, 0.0, 60.0, 20.0]]] * 3])
    >>> embed = torch.eye(2).expand(1, 3, 2, 2)
    >>> clip = boxes, torch.full((1, 3, 2), 9.0), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]])
    >>> right = unitrack_loss(*clip, embed=embed)
    >>> swapped = torch.stack([embed[:, 0], embed[:, 1].flip(1), embed[:, 2]], 1)
    >>> wrong = unitrack_loss(*clip, embed=swapped)
    >>> round(right.total.item(), 2), round(wrong.total.item(), 1), round(wrong.id_accuracy.item(), 2)
    (0.01, 6.7, 0.33)
    """
    detections = boxes_xyxy, logits, valid, det_gt
    clip = TrackClip(*detections, gt_boxes_xyxy, gt_ids, image_size, embed, assoc_logits, frame_stride, video)
    return _loss(clip, Settings(**settings))


class UniTrackLoss(nn.Module):
    """Module version of :func:`unitrack_loss`, without parameters or state.

    Args:
        preset: Terms of weight 1, see :class:`Settings`.
        settings: Other fields of :class:`Settings`.

    >>> UniTrackLoss("paper", window=3)
    UniTrackLoss(preset='paper', window=3)
    """

    def __init__(self, preset: Literal["identity", "paper"] = "identity", **settings: Any) -> None:
        super().__init__()
        self.settings = Settings(preset, **settings)

    def forward(self, clip: TrackClip) -> UniTrackOutput:
        """Compute the loss of a batch of clips."""
        return _loss(clip, self.settings)

    def extra_repr(self) -> str:
        """Return the preset if it is not the default one, and the settings that differ from it."""
        default = {**vars(Settings(self.settings.preset)), "preset": Settings().preset}
        changed = {name: value for name, value in vars(self.settings).items() if value != default[name]}
        return ", ".join(f"{name}={value!r}" for name, value in changed.items())


def _loss(clip: TrackClip, settings: Settings) -> UniTrackOutput:
    if not torch.compiler.is_compiling():  # a compiled graph cannot branch on values
        clip.validate()
    with torch.autocast(clip.logits.device.type, enabled=False):
        clip = clip.clean()
        added, values = _added(clip, settings)
        output = _paper(clip, settings) if settings.has_paper_terms else _nothing(clip)
        return replace(output, total=output.total if added is None else output.total + added, **values)


def _paper(clip: TrackClip, settings: Settings) -> UniTrackOutput:
    """Return the output for the paper's terms, with 0 for the others."""
    if clip.valid.shape[1] < 2 or not clip.valid.shape[2]:
        return _nothing(clip)
    links = flow(clip, settings.tau, settings.null, settings.gate_confidence)
    graph = ground_truth_graph(clip.det_gt, clip.valid)
    values, counted = window_terms(clip, links, graph, settings)

    def average(value: Tensor) -> Tensor:
        """Average over the windows with a pair of detections, then over the clips with such windows."""
        per_clip = mean(value.where(counted, 0).sum(1), counted.sum(1))
        return mean(per_clip.sum(), counted.any(1).sum())

    means = {name: average(value) for name, value in values.items()}
    total = means.pop("total")
    with torch.no_grad():
        terms = {name: value.detach() for name, value in means.items()}
        zeros = dict.fromkeys(OF_IDENTITY + OF_CAPACITY + OF_BOTH, torch.zeros_like(total))
        return UniTrackOutput(total, **terms, **_diagnostics(clip, links, graph), **zeros)


def _added(clip: TrackClip, settings: Settings) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return the weighted identity and capacity terms, None if both weights are 0, and their outputs by name."""
    values: dict[str, Tensor] = {}
    added = None
    if weight := settings.factor("identity"):
        identity = identity_sums(clip, settings)
        value = _over_clips(identity.total, identity.count)
        value = mean(identity.exchanged, (identity.count > 0).sum()) + value
        values |= {"identity": value.detach(), **_identity_diagnostics(identity)}
        added = weight * value
    if added is not None or settings.factor("capacity"):
        capacity = capacity_sums(clip)
        values["duplicates"] = mean(capacity.duplicates.sum().to(capacity.total.dtype), capacity.count.sum())
        if weight := settings.factor("capacity"):
            value = _over_clips(capacity.total, capacity.count)
            values["capacity"] = value.detach()
            added = weight * value if added is None else added + weight * value
    return added, values


def _over_clips(total: Tensor, count: Tensor) -> Tensor:
    """Return the mean of every clip, averaged over the clips with at least one entry."""
    return mean(mean(total, count).sum(), (count > 0).sum())


def _identity_diagnostics(sums: IdentitySums) -> dict[str, Tensor]:
    """Return the share of right edges of the identity flow, of all gaps and of those above 1, and of nearest ones."""
    edges, flow = sums.edges.sum(0), sums.flow.sum()
    right, placed = (count.sum(0).to(flow.dtype) for count in (sums.right, sums.placed))
    return {
        "num_edges": edges.sum(),
        "edge_flow": mean(flow, edges.sum()),
        "id_accuracy": mean(right.sum(), edges.sum()),
        "far_accuracy": mean(right[1], edges[1]),
        "place_accuracy": mean(placed.sum(), edges.sum()),
        "far_place_accuracy": mean(placed[1], edges[1]),
    }


def _diagnostics(clip: TrackClip, links: Flow, graph: GroundTruthGraph) -> dict[str, Tensor]:
    """Return the diagnostics of :class:`UniTrackOutput` over all clips, which are not part of the loss."""
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
    """Return the output for clips without pairs: 0, attached to the graph for distributed training."""
    live = [one for one in (clip.boxes_xyxy, clip.logits, clip.embed, clip.assoc_logits) if one is not None]
    zero = clip.logits.new_zeros(())
    values = dict.fromkeys(OUTPUTS, zero)
    values["total"] = sum((0 * one.sum() for one in live), zero)
    values["num_edges"] = zero.long()
    return UniTrackOutput(**values)
