"""Breakdown of the loss of one clip by edge and by identity switch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow, flow
from unitrack_loss.graph import GroundTruthGraph, ground_truth_graph
from unitrack_loss.loss import UniTrackOutput, unitrack_loss
from unitrack_loss.settings import Settings
from unitrack_loss.terms.sums import marginals
from unitrack_loss.terms.window_terms import right_flow, window_terms

VISIBLE = 0.01  # minimum flow of a wrong edge to be listed


@dataclass(frozen=True)
class Edge:
    """Flow between two detections.

    Attributes:
        frame: Index of the frame in which the edge starts; it ends in the next one.
        start: Row of the detection in this frame.
        end: Row of the detection in the next frame.
        identity: Identity of the start; -1 for a false positive.
        end_identity: Identity of the end.
        flow: Flow in [0, 1].
        right: Whether both detections belong to one object.
        cost: Contribution to the loss through the flow term; 0 for wrong edges.
    """

    frame: int
    start: int
    end: int
    identity: int
    end_identity: int
    flow: float
    right: bool
    cost: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Breakdown of the loss of one clip; print it for a summary.

    Attributes:
        output: Loss and terms.
        edges: Edges between consecutive frames: all correct ones, and wrong ones with a flow of at least 0.01.
        switches: Correct edges with less flow than another edge of their row, most costly first, each paired with the
            edge that has the most flow.
        residual: Outgoing minus incoming flow of every detection, minus its ground-truth balance, ``(T, N)``.
        clip: The explained clip.
    """

    output: UniTrackOutput
    edges: list[Edge]
    switches: list[tuple[Edge, Edge]]
    residual: Tensor
    clip: TrackClip

    def __str__(self) -> str:
        numbers = ", ".join(
            f"{name} {getattr(self.output, name).item():.3g}"
            for name in ("flow", "spatial", "temporal", "conservation", "quality", "id_accuracy")
        )
        lines = [f"loss {self.output.total.item():.4g}: {numbers}"]
        for right, taken in self.switches:
            target = "a false positive" if taken.end_identity < 0 else f"identity {taken.end_identity}"
            lines.append(
                f"frame {right.frame} to {right.frame + 1}: identity {right.identity} goes to {target} "
                f"({taken.flow:.2f}), not to itself ({right.flow:.2f}); cost {right.cost:.3g}"
            )
        return "\n".join(lines)


@torch.no_grad()
def explain(clip: TrackClip, row: int = 0, **settings: Any) -> Explanation:
    """Explain the loss of one clip.

    Args:
        clip: Batch of clips.
        row: Index of the clip in the batch.
        settings: Fields of :class:`Settings`.

    Raises:
        ValueError: If there are fewer than two frames, or no detections.

    >>> ids = torch.tensor([[[0, 1]] * 3])
    >>> boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0], [50.0, 0.0, 60.0, 20.0]]] * 3])
    >>> logits, embed = torch.full((1, 3, 2), 9.0), torch.eye(2).expand(1, 3, 2, 2).clone()
    >>> embed[0, 2] = embed[0, 2].flip(0)
    >>> print(explain(TrackClip(boxes, logits, ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]), embed)))
    loss 25.1: flow 10, spatial 1.1, temporal 1.43, conservation 0.000125, quality 1, id_accuracy 0.5
    frame 1 to 2: identity 0 goes to identity 1 (0.99), not to itself (0.00); cost 11
    frame 1 to 2: identity 1 goes to identity 0 (0.99), not to itself (0.00); cost 11
    """
    chosen = Settings(**settings)
    values = {one.name: getattr(clip, one.name) for one in fields(clip)}
    tensors: dict[str, Any] = {
        name: None if value is None else value[row : row + 1].detach() for name, value in values.items()
    }
    clip = TrackClip(**tensors).clean()
    if clip.valid.shape[1] < 2 or not clip.valid.shape[2]:
        frames, slots = clip.valid.shape[1:]
        raise ValueError(f"clip: expected at least two frames and a detection, got {frames} frames with {slots} slots")
    links = flow(clip, chosen.tau, chosen.null, chosen.gate_confidence)
    graph = ground_truth_graph(clip.det_gt, clip.valid)
    price = _price_of_pairs(clip, links, graph, chosen)

    strength, right = links.flow[0], graph.edges[0]
    loss = -links.log_flow[0] if chosen.flow_form == "log" else 1 - strength
    shown = (right | (strength >= VISIBLE)) & clip.pairs()[0]
    ids = clip.det_gt[0].tolist()

    def edge(t: int, i: int, j: int) -> Edge:
        cost = price[t] * loss[t, i, j].item() if right[t, i, j] else 0.0
        return Edge(t, i, j, ids[t][i], ids[t + 1][j], strength[t, i, j].item(), bool(right[t, i, j]), cost)

    most = strength.argmax(2).tolist()
    lost = [(edge(t, i, j), edge(t, i, most[t][i])) for t, i, j in right.nonzero().tolist() if most[t][i] != j]
    sides = marginals(links)
    residual = -graph.balance[0].to(strength.dtype)
    residual[:-1] += sides.out[0]
    residual[1:] -= sides.into[0]
    return Explanation(
        unitrack_loss(**tensors, **settings),
        [edge(*index) for index in shown.nonzero().tolist()],
        sorted(lost, key=lambda pair: -pair[0].cost),
        residual.where(clip.valid[0], 0),
        clip,
    )


def _price_of_pairs(clip: TrackClip, links: Flow, graph: GroundTruthGraph, settings: Settings) -> list[float]:
    """Return the weight of a correct edge's flow term in the loss, for every pair of frames."""
    values, counted = window_terms(clip, links, graph, settings)
    size = settings.window - 1
    price = values["quality"][0] * settings.flow_weight * counted[0] / counted[0].sum().clamp(min=1)
    if settings.log_norm:
        price = price * values["log_edges"][0]
    if settings.reference == "gt":  # means, not sums
        price = price / right_flow(clip, links, graph, settings).count[0].clamp(min=1)
    pairs = [0.0] * (clip.valid.shape[1] - 1)
    for window, one in enumerate(price.tolist()):
        for pair in range(window, min(window + size, len(pairs))):
            pairs[pair] += one
    return pairs
