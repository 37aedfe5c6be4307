"""Loss of every window of a clip, combined from its terms."""

from __future__ import annotations

import torch
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow, flow
from unitrack_loss.graph import GroundTruthGraph, edges_over
from unitrack_loss.laplacian import laplacian_weights
from unitrack_loss.settings import Settings
from unitrack_loss.terms.sums import (
    Counts,
    Sums,
    conservation_sums,
    detection_counts,
    flow_sums,
    marginals,
    spatial_sums,
    temporal_sums,
)
from unitrack_loss.terms.windows import mean, windows


def window_terms(
    clip: TrackClip, links: Flow, graph: GroundTruthGraph, settings: Settings
) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the loss and terms of every window.

    Args:
        clip: Cleaned clip.
        links: Flow of the clip.
        graph: Its ground-truth graph.
        settings: Settings of the loss.

    Returns:
        Loss and terms by name, ``(B, W)`` each, and a mask of the windows with at least one pair of detections.
    """
    frames, pairs, triples = settings.window, settings.window - 1, settings.window - 2
    detections = clip.valid.sum(2)

    def over(sums: Sums, size: int) -> Tensor:
        return _taken(_summed(sums, size), settings)

    counts = detection_counts(clip, settings.confidence_threshold)
    quality = _quality(counts, frames, settings.alpha)
    flow_term = _flow_term(right_flow(clip, links, graph, settings), quality, settings)
    # Localization errors must not lower the confidence of a detection.
    strength = (links.log_links + (links.log_flow - links.log_links).detach()).exp()
    spatial = over(spatial_sums(clip, strength, graph, settings.reference), pairs)
    temporal = torch.zeros_like(spatial)
    if triples and clip.valid.shape[1] > 2:
        temporal = over(temporal_sums(clip, strength, graph, settings.reference), triples)
    conservation = mean(
        windows(conservation_sums(marginals(links), graph), pairs).sum(2), windows(detections, frames).sum(2)
    )
    lambda_s, lambda_t = laplacian_weights(
        clip,
        links,
        graph,
        frames,
        settings.weights,
        settings.spatial_sigma,
        settings.eps_lambda,
        settings.max_laplacian_nodes,
    )
    loss = (
        settings.factor("flow") * flow_term
        + settings.factor("spatial") * lambda_s * spatial
        + settings.factor("temporal") * lambda_t * temporal
        + settings.factor("conservation") * conservation
    )
    candidates = windows(detections[:, :-1] * detections[:, 1:], pairs).sum(2)
    log_edges = candidates.to(loss.dtype).log1p()
    values = {
        "total": loss * log_edges if settings.log_norm else loss,
        "flow": flow_term,
        "spatial": spatial,
        "temporal": temporal,
        "conservation": conservation,
        "quality": quality,
        "lambda_s": lambda_s,
        "lambda_t": lambda_t,
        "log_edges": log_edges,
    }
    return values, candidates > 0


def _quality(counts: Counts, frames: int, alpha: float) -> Tensor:
    """Return the detection quality ``exp(-alpha FP / P - alpha FN / GT)`` per window, as in the paper; no gradient."""
    predicted, false, objects, missed = (
        windows(one, frames).sum(2) for one in (counts.predicted, counts.false, counts.objects, counts.missed)
    )
    return (-alpha * (false / predicted.clamp(min=1) + missed / objects.clamp(min=1))).exp()


def right_flow(clip: TrackClip, links: Flow, graph: GroundTruthGraph, settings: Settings) -> Sums:
    """Sum ``-log F``, or ``F`` for the linear form, over the correct edges of every window, ``(B, W)``."""
    right = _summed(flow_sums(links, graph.edges, settings.flow_form), settings.window - 1)
    for gap in range(2, min(settings.max_gap, clip.valid.shape[1] - 1) + 1):
        longer = flow(clip, settings.tau, settings.null, settings.gate_confidence, gap)
        edges = edges_over(clip.det_gt, clip.valid, gap)
        more = _summed(flow_sums(longer, edges, settings.flow_form), settings.window - gap)
        right = Sums(right.total + more.total, right.count + more.count)
    return right


def _flow_term(right: Sums, quality: Tensor, settings: Settings) -> Tensor:
    """Return the flow term of every window: ``(1 - q) + q mean(-log F)`` by default."""
    along, logarithm = _taken(right, settings), settings.flow_form == "log"
    if settings.reference == "paper":
        return quality * along if logarithm else -quality * along
    if logarithm:
        return (1 - quality) + quality * along
    return 1 - quality * along.where(right.count > 0, 1)


def _summed(sums: Sums, size: int) -> Sums:
    """Sum over windows of ``size`` entries."""
    return Sums(windows(sums.total, size).sum(2), windows(sums.count, size).sum(2))


def _taken(sums: Sums, settings: Settings) -> Tensor:
    """Return the mean, or the sum for ``reference="paper"``."""
    return sums.total if settings.reference == "paper" else mean(sums.total, sums.count)
