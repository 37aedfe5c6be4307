"""The loss of every window of a clip, put together from its terms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unitrack_loss._terms import (
    Counts,
    Sums,
    conservation_sums,
    detection_counts,
    flow_sums,
    marginals,
    spatial_sums,
    temporal_sums,
)
from unitrack_loss._windows import mean, windows
from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow
from unitrack_loss.graph import GroundTruthGraph
from unitrack_loss.laplacian import laplacian_weights
from unitrack_loss.settings import Settings


def window_terms(
    clip: TrackClip, links: Flow, graph: GroundTruthGraph, settings: Settings
) -> tuple[dict[str, Tensor], Tensor]:
    """The loss of every window and of what it is made, ``(B, W)`` by name, and which windows have a pair of detections.

    Args:
        clip: cleaned.
        links: flow of the clip.
        graph: of its ground truth.
        settings: of the loss.
    """
    frames, pairs, triples = settings.window, settings.window - 1, settings.window - 2
    detections = clip.valid.sum(2)

    def over(sums: Sums, size: int) -> Tensor:
        total = windows(sums.total, size).sum(2)
        return total if settings.reference == "paper" else mean(total, windows(sums.count, size).sum(2))

    counts = detection_counts(clip, settings.confidence_threshold)
    quality = _quality(counts, frames, settings.alpha)
    flow_term = _flow_term(flow_sums(links, graph, settings.flow_form), quality, over, settings)
    # A wrong place must not lower the confidence of a detection.
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
        settings.flow_weight * flow_term
        + settings.spatial_weight * lambda_s * spatial
        + settings.temporal_weight * lambda_t * temporal
        + settings.conservation_weight * conservation
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
    """``exp(-alpha FP / P - alpha FN / GT)`` per window; no gradient (UniTrack, eq. of the flow term)."""
    predicted, false, objects, missed = (
        windows(one, frames).sum(2) for one in (counts.predicted, counts.false, counts.objects, counts.missed)
    )
    return (-alpha * (false / predicted.clamp(min=1) + missed / objects.clamp(min=1))).exp()


def _flow_term(right: Sums, quality: Tensor, over: Callable[[Sums, int], Tensor], settings: Settings) -> Tensor:
    """The flow term of every window."""
    pairs, logarithm = settings.window - 1, settings.flow_form == "log"
    along = over(right, pairs)
    if settings.reference == "paper":
        return quality * along if logarithm else -quality * along
    if logarithm:
        return (1 - quality) + quality * along
    return 1 - quality * along.where(windows(right.count, pairs).sum(2) > 0, 1)
