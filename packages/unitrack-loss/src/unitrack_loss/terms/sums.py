"""Terms of the loss as sums and counts per frame, pair or triple of frames, to be accumulated over windows.

The paper is UniTrack (Galoaa et al., arXiv 2602.05037).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import SMALLEST, Flow
from unitrack_loss.graph import GroundTruthGraph

NEAR = 0.01  # distance in box sizes below which the distance is quadratic


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums ``(B, L)`` and the number of their entries ``(B, L)``."""

    total: Tensor
    count: Tensor


def flow_sums(flow: Flow, edges: Tensor, form: str) -> Sums:
    """Sum ``-log F``, or ``F`` for the linear form, over the correct edges of every pair of frames."""
    value = -flow.log_flow if form == "log" else flow.flow
    return Sums(value.where(edges, 0).sum((2, 3)), edges.sum((2, 3)))


@dataclass(frozen=True, eq=False)
class Marginals:
    """Flow out of every detection of a frame and into every detection of the next, ``(B, T - 1, N)`` each."""

    out: Tensor
    into: Tensor


def marginals(flow: Flow) -> Marginals:
    """Sum the flow over the next and over the previous frame."""
    return Marginals(flow.flow.sum(3), flow.flow.sum(2))


def conservation_sums(sides: Marginals, graph: GroundTruthGraph) -> Tensor:
    """Sum the conservation residuals of every pair of frames.

    ::

        1/2 sum_i (out_i - o_i)^2 + 1/2 sum_j (in_j - n_j)^2

    where ``o`` and ``n`` are the outgoing and incoming flow of the ground truth. The paper's constraint ``out - in =
    b`` follows from both residuals being 0.
    """
    leaving = (sides.out - graph.outgoing[:, :-1]).square().sum(2)
    arriving = (sides.into - graph.incoming[:, 1:]).square().sum(2)
    return (leaving + arriving) / 2


def spatial_sums(clip: TrackClip, links: Tensor, graph: GroundTruthGraph, reference: str) -> Sums:
    """Sum the distances between the ends of the flow and the object's next position, for every pair of frames.

    ::

        sum_i sum_j F_ij (sqrt(|c_j - g_i|^2 / s_i^2 + eps^2) - eps)

    with the center ``c_j`` of detection ``j`` in the next frame, the object's center ``g_i`` and box diagonal ``s_i``
    there, and ``eps = 0.01``.

    Args:
        clip: Cleaned clip.
        links: Flow ``(B, T - 1, N, N)``, with detached confidences.
        graph: Ground-truth graph.
        reference: "gt", or "paper" for the distance from the detection's own position, as in the paper.
    """
    centers = _centers(clip.boxes_xyxy)
    after, size = _object_of(clip, 1)
    after, size = after[:, :-1], size[:, :-1]
    if reference == "paper":
        after = centers[:, :-1]
    # One axis at a time, which is three times as fast as a last dimension of two.
    across, down = ((centers[:, 1:, None, :, axis] - after[:, :, :, None, axis]) / size[..., None] for axis in range(2))
    distance = (across.square() + down.square() + NEAR**2).sqrt() - NEAR
    follows = graph.outgoing[:, :-1] > 0
    total = (links * distance).sum(3).where(follows, 0).sum(2)
    return Sums(total, follows.sum(2))


def temporal_sums(clip: TrackClip, links: Tensor, graph: GroundTruthGraph, reference: str) -> Sums:
    """Sum the differences between the acceleration along the flow and that of the object, for every three frames.

    ::

        1/dt sum_i out_i (sqrt(1 + |A_i - A_i^gt|^2 / s_i^2) - 1),    A_i = (succ_i - 2 c_i + pred_i) / dt

    where ``succ_i`` and ``pred_i`` are the flow-weighted mean positions in the next and the previous frame.

    Args:
        clip: Cleaned clip.
        links: Flow ``(B, T - 1, N, N)``, with detached confidences.
        graph: Ground-truth graph.
        reference: "gt", or "paper" to compare with zero acceleration, as in the paper.
    """
    centers = _centers(clip.boxes_xyxy)
    out, into = links.sum(3), links.sum(2)
    successor = links @ centers[:, 1:] / (out + 1e-6)[..., None]
    predecessor = links.transpose(2, 3) @ centers[:, :-1] / (into + 1e-6)[..., None]
    now = centers[:, 1:-1]
    change = successor[:, 1:] - 2 * now + predecessor[:, :-1]
    here, size = _object_of(clip, 0)
    if reference == "gt":
        before, later = _object_of(clip, -1)[0], _object_of(clip, 1)[0]
        change = change - (later - 2 * here + before)[:, 1:-1]
    stride = _stride(clip)[:, None, None]
    deviation = change / (size[:, 1:-1, :, None] * stride[..., None])
    bend = (1 + deviation.square().sum(-1)).sqrt() - 1
    passes = (graph.outgoing + graph.incoming)[:, 1:-1] == 2
    total = (out[:, 1:] * bend / stride).where(passes, 0).sum(2)
    return Sums(total, passes.sum(2))


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts per frame, ``(B, T)``: confident detections, false positives, objects and missed objects."""

    predicted: Tensor
    false: Tensor
    objects: Tensor
    missed: Tensor


@torch.no_grad()
def detection_counts(clip: TrackClip, threshold: float) -> Counts:
    """Count the detections and objects that determine the detection quality."""
    confident = clip.valid & (clip.logits.sigmoid() > threshold)
    known = clip.gt_ids >= 0
    found = ((clip.gt_ids[..., None] == clip.det_gt[..., None, :]) & confident[..., None, :]).any(-1)
    masks = confident, confident & (clip.det_gt < 0), known, known & ~found
    return Counts(*(one.to(clip.logits.dtype).sum(2) for one in masks))


def object_boxes(clip: TrackClip, shift: int = 0) -> Tensor:
    """Return the box ``(B, T, N, 4)`` of every detection's object, ``shift`` frames later; 0 where there is none."""
    boxes, ids = clip.gt_boxes_xyxy, clip.gt_ids
    if shift:
        ends = (0, shift) if shift > 0 else (-shift, 0)
        moved = slice(shift, None) if shift > 0 else slice(None, shift)
        boxes = F.pad(boxes[:, moved], (0, 0, 0, 0, *ends))
        ids = F.pad(ids[:, moved], (0, 0, *ends), value=-1)
    # Binary search in place of comparing all pairs; detections without an object get the row of zeros at the end.
    nobody = ids.shape[2]
    known, order = F.pad(ids, (0, 1), value=-1).sort(2)
    position = torch.searchsorted(known, clip.det_gt.contiguous()).clamp(max=nobody)
    found = (known.gather(2, position) == clip.det_gt) & (clip.det_gt >= 0)
    row = order.gather(2, position).where(found, nobody)
    return F.pad(boxes, (0, 0, 0, 1)).gather(2, row[..., None].expand(-1, -1, -1, 4))


def _object_of(clip: TrackClip, shift: int) -> tuple[Tensor, Tensor]:
    """Return center ``(B, T, N, 2)`` and size ``(B, T, N)`` of every detection's object, ``shift`` frames later.

    Where there is no object, the center is 0 and the size is the smallest one.
    """
    own = object_boxes(clip, shift)
    smallest = SMALLEST * clip.image_size.to(own).norm(dim=-1)[:, None, None]
    return _centers(own), (own[..., 2:] - own[..., :2]).norm(dim=-1).maximum(smallest)


def _centers(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2


def _stride(clip: TrackClip) -> Tensor:
    if clip.frame_stride is None:
        return clip.logits.new_ones(len(clip.logits))
    return clip.frame_stride.to(clip.logits)
