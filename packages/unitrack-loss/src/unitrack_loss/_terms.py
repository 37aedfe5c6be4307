"""The four terms of the loss, each as a sum and a count per frame, pair or triple of frames: windows add them up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import SMALLEST, Flow
from unitrack_loss.graph import GroundTruthGraph

NEAR = 0.01  # distances below it count with their square, in sizes of a box


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums ``(B, L)`` and over how many entries each was taken, ``(B, L)``."""

    total: Tensor
    count: Tensor


def flow_sums(flow: Flow, edges: Tensor, form: str) -> Sums:
    """Per pair of frames: ``-log F`` (or ``F``, for the linear form) of the right edges."""
    value = -flow.log_flow if form == "log" else flow.flow
    return Sums(value.where(edges, 0).sum((2, 3)), edges.sum((2, 3)))


@dataclass(frozen=True, eq=False)
class Marginals:
    """Flow out of every detection of a frame and into every detection of the next, ``(B, T - 1, N)`` each."""

    out: Tensor
    into: Tensor


def marginals(flow: Flow) -> Marginals:
    """What leaves and what arrives."""
    return Marginals(flow.flow.sum(3), flow.flow.sum(2))


def conservation_sums(sides: Marginals, graph: GroundTruthGraph) -> Tensor:
    """Per pair of frames: half the squared difference of both sides from the flow of the ground truth."""
    leaving = (sides.out - graph.outgoing[:, :-1]).square().sum(2)
    arriving = (sides.into - graph.incoming[:, 1:]).square().sum(2)
    return (leaving + arriving) / 2


def spatial_sums(clip: TrackClip, links: Tensor, graph: GroundTruthGraph, reference: str) -> Sums:
    """Per pair of frames: how far the flow out of a detection ends from where its object is in the next frame.

    Args:
        clip: cleaned.
        links: ``(B, T - 1, N, N)`` flow; the gradient of confidences is not wanted.
        graph: of the ground truth.
        reference: "gt"; or "paper": from where the detection itself is, as the paper writes it.
    """
    centers = _centers(clip.boxes_xyxy)
    after, size = _object_of(clip, 1)
    after, size = after[:, :-1], size[:, :-1]
    if reference == "paper":
        after = centers[:, :-1]
    # One direction after the other: a last dimension of two would take three times as long.
    across, down = ((centers[:, 1:, None, :, axis] - after[:, :, :, None, axis]) / size[..., None] for axis in range(2))
    distance = (across.square() + down.square() + NEAR**2).sqrt() - NEAR
    follows = graph.outgoing[:, :-1] > 0
    total = (links * distance).sum(3).where(follows, 0).sum(2)
    return Sums(total, follows.sum(2))


def temporal_sums(clip: TrackClip, links: Tensor, graph: GroundTruthGraph, reference: str) -> Sums:
    """Per three frames: how far the acceleration along the flow is from that of the object.

    Args:
        clip: cleaned.
        links: ``(B, T - 1, N, N)`` flow; the gradient of confidences is not wanted.
        graph: of the ground truth.
        reference: "gt"; or "paper": from no acceleration.
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
    """Per frame ``(B, T)``: confident detections, those without an object, objects, and objects that were missed."""

    predicted: Tensor
    false: Tensor
    objects: Tensor
    missed: Tensor


@torch.no_grad()
def detection_counts(clip: TrackClip, threshold: float) -> Counts:
    """What the quality of the detections is made of."""
    confident = clip.valid & (clip.logits.sigmoid() > threshold)
    known = clip.gt_ids >= 0
    found = ((clip.gt_ids[..., None] == clip.det_gt[..., None, :]) & confident[..., None, :]).any(-1)
    what = confident, confident & (clip.det_gt < 0), known, known & ~found
    return Counts(*(one.to(clip.logits.dtype).sum(2) for one in what))


def _object_of(clip: TrackClip, shift: int) -> tuple[Tensor, Tensor]:
    """Centre ``(B, T, N, 2)`` and size ``(B, T, N)`` of the object of every detection, ``shift`` frames later.

    Both are 0 and the smallest size where there is none.
    """
    boxes, ids = clip.gt_boxes_xyxy, clip.gt_ids
    if shift:
        ends = (0, shift) if shift > 0 else (-shift, 0)
        moved = slice(shift, None) if shift > 0 else slice(None, shift)
        boxes = F.pad(boxes[:, moved], (0, 0, 0, 0, *ends))
        ids = F.pad(ids[:, moved], (0, 0, *ends), value=-1)
    # Looked up, not compared with all. Detections of nobody get the row of zeros at the end.
    nobody = ids.shape[2]
    known, order = F.pad(ids, (0, 1), value=-1).sort(2)
    place = torch.searchsorted(known, clip.det_gt.contiguous()).clamp(max=nobody)
    found = (known.gather(2, place) == clip.det_gt) & (clip.det_gt >= 0)
    row = order.gather(2, place).where(found, nobody)
    own = F.pad(boxes, (0, 0, 0, 1)).gather(2, row[..., None].expand(-1, -1, -1, 4))
    smallest = SMALLEST * clip.image_size.to(boxes).norm(dim=-1)[:, None, None]
    return _centers(own), (own[..., 2:] - own[..., :2]).norm(dim=-1).maximum(smallest)


def _centers(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) / 2


def _stride(clip: TrackClip) -> Tensor:
    if clip.frame_stride is None:
        return clip.logits.new_ones(len(clip.logits))
    return clip.frame_stride.to(clip.logits)
