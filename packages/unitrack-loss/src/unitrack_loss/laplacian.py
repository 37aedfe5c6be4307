"""Weights of the spatial and the temporal term, from how well connected their graphs are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unitrack_loss._windows import mean, windows
from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow
from unitrack_loss.graph import GroundTruthGraph
from unitrack_loss.settings import WeightMode


@torch.no_grad()
def laplacian_weights(
    clip: TrackClip,
    flow: Flow,
    graph: GroundTruthGraph,
    window: int,
    mode: WeightMode = "laplacian",
    sigma: float = 0.1,
    eps: float = 0.05,
    max_nodes: int = 64,
) -> tuple[Tensor, Tensor]:
    """Weights ``(B, windows)`` of the spatial and of the temporal term; no gradient.

    Both come from the second eigenvalue of a graph Laplacian (UniTrack, eq. 8), 1 for a graph that could not be
    connected better: that of the detections of a frame, near ones joined strongly, and that of the frames, joined by
    the flow of the right edges. The less a graph is connected, the more its term weighs.

    Args:
        clip: the detections.
        flow: between them.
        graph: of the ground truth.
        window: frames of a window.
        mode: "laplacian", "fixed" (one half each) or "none" (one each).
        sigma: distance at which detections are near, in diagonals of the image.
        eps: keeps weights finite: they lie between ``eps / (1 + 2 * eps)`` and 1 less this.
        max_nodes: of a frame, the most confident ones.

    >>> ids = torch.tensor([[[0, 1]] * 2])
    >>> boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0], [400.0, 0.0, 410.0, 20.0]]] * 2])
    >>> clip = TrackClip(boxes, torch.full((1, 2, 2), 9.0), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]))
    >>> from unitrack_loss import flow, ground_truth_graph
    >>> spatial, temporal = laplacian_weights(clip, flow(clip), ground_truth_graph(ids, ids >= 0), window=2)
    >>> round(spatial.item(), 2), round(temporal.item(), 2)  # far from each other, well linked in time
    (0.95, 0.05)
    """
    if mode != "laplacian":
        share = torch.full_like(windows(clip.logits.sum(2), window)[..., 0], 0.5 if mode == "fixed" else 1.0)
        return share, share
    clip = clip.clean()
    spatial = _spatial(clip, window, sigma, max_nodes)
    temporal = _temporal(flow, graph, window)
    u, v = 1 / (spatial + eps), 1 / (temporal + eps)
    return u / (u + v), v / (u + v)


def _spatial(clip: TrackClip, window: int, sigma: float, max_nodes: int) -> Tensor:
    """Mean over the frames of a window of the connectivity of their detections; 1 where no frame has two."""
    size = min(max_nodes, clip.valid.shape[2])
    if size < 2:
        return torch.ones_like(windows(clip.logits.sum(2), window)[..., 0])
    chosen = clip.logits.masked_fill(~clip.valid, -torch.inf).topk(size, dim=2).indices
    valid = clip.valid.gather(2, chosen)
    boxes = clip.boxes_xyxy.gather(2, chosen[..., None].expand(-1, -1, -1, 4))
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    squares = (centers[:, :, :, None] - centers[:, :, None, :]).square().sum(-1)
    reach = sigma * clip.image_size.to(centers).norm(dim=-1)
    near = (-squares / (2 * reach[:, None, None, None] ** 2)).exp()
    both = valid[:, :, :, None] & valid[:, :, None, :]
    near = near.where(both & ~torch.eye(size, dtype=torch.bool, device=near.device), 0)
    # No eigenvalue of a Laplacian is above twice its largest degree: those of padded nodes come last.
    laplacian = torch.diag_embed(near.sum(3) + 2 * size * ~valid) - near
    count = valid.sum(2)
    connectivity = _second_eigenvalue(laplacian) / count.clamp(min=1)
    several = count >= 2
    total = windows(connectivity.clamp(0, 1) * several, window).sum(2)
    frames = windows(several.to(total.dtype), window).sum(2)
    return torch.where(frames > 0, total / frames.clamp(min=1), 1)


def _temporal(flow: Flow, graph: GroundTruthGraph, window: int) -> Tensor:
    """Connectivity of the path of frames; 1 where all right edges carry all flow, 0 where one boundary carries none."""
    links = mean(flow.flow.where(graph.edges, 0).sum((2, 3)), graph.edges.sum((2, 3)))
    links = torch.where(graph.edges.any(3).any(2), links, 1)
    chosen = windows(links, window - 1)
    nodes = chosen.shape[2] + 1
    laplacian = torch.diag_embed(F.pad(chosen, (0, 1)) + F.pad(chosen, (1, 0)))
    laplacian = laplacian - torch.diag_embed(chosen, 1) - torch.diag_embed(chosen, -1)
    best = 2 - 2 * math.cos(math.pi / nodes)
    return (_second_eigenvalue(laplacian) / best).clamp(0, 1)


def _second_eigenvalue(laplacian: Tensor) -> Tensor:
    # Of a tracker that has diverged, LAPACK would stop with an error of its own; the other terms are NaN then.
    return torch.linalg.eigvalsh(laplacian.nan_to_num(0, 0, 0))[..., 1]
