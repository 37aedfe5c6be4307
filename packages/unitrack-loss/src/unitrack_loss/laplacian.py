"""Adaptive weights of the spatial and the temporal term, from the connectivity of their graphs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow
from unitrack_loss.graph import GroundTruthGraph
from unitrack_loss.settings import WeightMode
from unitrack_loss.terms.windows import mean, windows


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
    """Compute the weights of the spatial and the temporal term, without gradient.

    ::

        lambda_s = u / (u + v),    u = 1 / (sigma2(L_s) + eps)
        lambda_t = v / (u + v),    v = 1 / (sigma2(L_t) + eps)

    This is Eq. 8 of UniTrack (Galoaa et al., arXiv 2602.05037) with ``eps`` added, because ``sigma2``, the second
    smallest eigenvalue of a graph Laplacian, is 0 for a disconnected graph. Both are scaled to 1 for the best connected
    graph. The spatial graph joins the detections of a frame, nearby ones strongly. The temporal graph joins consecutive
    frames by the mean flow of their correct edges. The less connected a graph is, the larger is its weight.

    Args:
        clip: Batch of clips.
        flow: Flow of the clips.
        graph: Ground-truth graph of the clips.
        window: Number of frames per window.
        mode: "laplacian", "fixed" (one half each) or "none" (one each).
        sigma: Distance, in image diagonals, at which detections count as near.
        eps: Offset that keeps the weights finite: they lie in ``[eps / (1 + 2 eps), (1 + eps) / (1 + 2 eps)]``. Higher
            values move both weights toward one half.
        max_nodes: Maximum number of detections per frame in the spatial graph; the most confident ones are kept.

    Returns:
        Weights of the spatial and of the temporal term, ``(B, windows)`` each.

    >>> ids = torch.tensor([[[0, 1]] * 2])
    >>> boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0], [400.0, 0.0, 410.0, 20.0]]] * 2])
    >>> clip = TrackClip(boxes, torch.full((1, 2, 2), 9.0), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]))
    >>> from unitrack_loss import flow, ground_truth_graph
    >>> spatial, temporal = laplacian_weights(clip, flow(clip), ground_truth_graph(ids, ids >= 0), window=2)
    >>> round(spatial.item(), 2), round(temporal.item(), 2)  # far apart, and well linked in time
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
    """Return the mean connectivity of the detections in the frames of a window; 1 if no frame has two detections."""
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
    # Eigenvalues of a Laplacian are at most twice its largest degree, so those of padded nodes come last.
    laplacian = torch.diag_embed(near.sum(3) + 2 * size * ~valid) - near
    count = valid.sum(2)
    connectivity = _second_eigenvalue(laplacian) / count.clamp(min=1)
    several = count >= 2
    total = windows(connectivity.clamp(0, 1) * several, window).sum(2)
    frames = windows(several.to(total.dtype), window).sum(2)
    return torch.where(frames > 0, total / frames.clamp(min=1), 1)


def _temporal(flow: Flow, graph: GroundTruthGraph, window: int) -> Tensor:
    """Return the connectivity of the path of frames: 1 for full flow on all correct edges, 0 if a boundary has none."""
    links = mean(flow.flow.where(graph.edges, 0).sum((2, 3)), graph.edges.sum((2, 3)))
    links = torch.where(graph.edges.any(3).any(2), links, 1)
    chosen = windows(links, window - 1)
    nodes = chosen.shape[2] + 1
    laplacian = torch.diag_embed(F.pad(chosen, (0, 1)) + F.pad(chosen, (1, 0)))
    laplacian = laplacian - torch.diag_embed(chosen, 1) - torch.diag_embed(chosen, -1)
    best = 2 - 2 * math.cos(math.pi / nodes)
    return (_second_eigenvalue(laplacian) / best).clamp(0, 1)


def _second_eigenvalue(laplacian: Tensor) -> Tensor:
    # LAPACK raises an error on NaN, which a compiled loss does not check for; the other terms report it.
    return torch.linalg.eigvalsh(laplacian.nan_to_num(0, 0, 0))[..., 1]
