"""Breakdown of the loss of one clip by edge and by identity switch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from unitrack_loss.clip import TrackClip
from unitrack_loss.flow import Flow, flow
from unitrack_loss.graph import GroundTruthGraph, ground_truth_graph
from unitrack_loss.loss import OF_CAPACITY, OF_IDENTITY, UniTrackOutput, unitrack_loss
from unitrack_loss.settings import Settings
from unitrack_loss.terms.identity import identity_flow
from unitrack_loss.terms.sums import marginals
from unitrack_loss.terms.window_terms import right_flow, window_terms

VISIBLE = 0.01  # minimum flow of a wrong edge to be listed


@dataclass(frozen=True)
class Edge:
    """Flow between two detections.

    Attributes:
        frame: Index of the frame in which the edge starts.
        start: Row of the detection in this frame.
        end_frame: Index of the frame in which it ends: the next one, or any other with the identity flow.
        end: Row of the detection in that frame.
        identity: Identity of the start; -1 for a false positive.
        end_identity: Identity of the end.
        flow: Flow in [0, 1], in the identity flow the probability that the end is the object of the start.
        right: Whether both detections belong to one object.
        cost: Contribution to the loss through the flow term or the identity flow; 0 for wrong edges.
        odds: Log-odds of place for the edge in the identity flow; 0 without.
    """

    frame: int
    start: int
    end_frame: int
    end: int
    identity: int
    end_identity: int
    flow: float
    right: bool
    cost: float
    odds: float = 0.0


@dataclass(frozen=True, eq=False)
class Explanation:
    """Breakdown of the loss of one clip; print it for a summary.

    Attributes:
        output: Loss and terms.
        edges: Edges of the identity flow between all frames, or else of the paper's flow between consecutive ones: all
            correct ones, and wrong ones with a flow of at least 0.01.
        switches: Correct edges with less flow than another edge of their row, most costly first, each paired with the
            edge that has the most flow.
        residual: Outgoing minus incoming flow of every detection, minus its ground-truth balance, ``(T, N)``; 0 without
            the paper's terms.
        clip: The explained clip.
        terms: Names of the entries of ``output`` that matter.
    """

    output: UniTrackOutput
    edges: list[Edge]
    switches: list[tuple[Edge, Edge]]
    residual: Tensor
    clip: TrackClip
    terms: tuple[str, ...]

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {getattr(self.output, name).item():.3g}" for name in self.terms)
        lines = [f"loss {self.output.total.item():.4g}: {numbers}"]
        for right, taken in self.switches:
            target = "a false positive" if taken.end_identity < 0 else f"identity {taken.end_identity}"
            place = f"; odds of place {right.odds:+.1f}, not {taken.odds:+.1f}" if right.odds or taken.odds else ""
            lines.append(
                f"frame {right.frame} to {right.end_frame}: identity {right.identity} goes to {target} "
                f"({taken.flow:.2f}), not to itself ({right.flow:.2f}); cost {right.cost:.3g}{place}"
            )
        return "\n".join(lines)


@torch.no_grad()
def explain(clip: TrackClip, row: int = 0, **settings: Any) -> Explanation:
    """Explain the loss of one clip.

    Edges are those of the identity flow if it has a weight, otherwise those of the paper's flow.

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
    >>> clip = TrackClip(boxes, logits, ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]), embed)
    >>> print(str(explain(clip)).splitlines()[1])
    frame 0 to 2: identity 0 goes to identity 1 (0.99), not to itself (0.00); cost 0.834
    >>> print(explain(clip, preset="paper"))
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
    output = unitrack_loss(**tensors, **settings)
    terms = (*(OF_IDENTITY if chosen.factor("identity") else ()), *(OF_CAPACITY if chosen.factor("capacity") else ()))
    if chosen.has_paper_terms:
        terms = ("flow", "spatial", "temporal", "conservation", "quality", *terms)
    terms = (*terms, "id_accuracy")
    residual = torch.zeros_like(clip.logits[0])
    edges: list[Edge] = []
    switches: list[tuple[Edge, Edge]] = []
    if chosen.factor("identity"):
        edges, switches = _identity_edges(clip, chosen)
    if chosen.has_paper_terms:
        links = flow(clip, chosen.tau, chosen.null, chosen.gate_confidence)
        graph = ground_truth_graph(clip.det_gt, clip.valid)
        residual = _residual(clip, links, graph)
        if not chosen.factor("identity"):
            edges, switches = _edges(clip, links, graph, chosen)
    return Explanation(output, edges, switches, residual, clip, terms)


def _edges(
    clip: TrackClip, links: Flow, graph: GroundTruthGraph, chosen: Settings
) -> tuple[list[Edge], list[tuple[Edge, Edge]]]:
    """Return the edges of the paper's flow, and the switches among them."""
    price = _price_of_pairs(clip, links, graph, chosen)

    strength, right = links.flow[0], graph.edges[0]
    loss = -links.log_flow[0] if chosen.flow_form == "log" else 1 - strength
    shown = (right | (strength >= VISIBLE)) & clip.pairs()[0]
    ids = clip.det_gt[0].tolist()

    def edge(t: int, i: int, j: int) -> Edge:
        cost = price[t] * loss[t, i, j].item() if right[t, i, j] else 0.0
        return Edge(t, i, t + 1, j, ids[t][i], ids[t + 1][j], strength[t, i, j].item(), bool(right[t, i, j]), cost)

    most = strength.argmax(2).tolist()
    lost = [(edge(t, i, j), edge(t, i, most[t][i])) for t, i, j in right.nonzero().tolist() if most[t][i] != j]
    return [edge(*index) for index in shown.nonzero().tolist()], sorted(lost, key=lambda pair: -pair[0].cost)


def _identity_edges(clip: TrackClip, chosen: Settings) -> tuple[list[Edge], list[tuple[Edge, Edge]]]:
    """Return the edges of the identity flow between all frames, and the switches among them."""
    links = identity_flow(clip, chosen)
    strength = (links.affinity - links.everything[..., None]).exp()[0]
    counted, right = links.counted[0, ..., None], links.same[0]
    price = chosen.factor("identity") / links.counted.sum().clamp(min=1)
    cost = price * (links.everything[..., None] - links.affinity)[0]
    odds = torch.zeros_like(strength) if links.odds is None else links.odds[0]
    shown = (right | (strength >= VISIBLE)) & counted
    ids = clip.det_gt[0].tolist()

    def edge(s: int, i: int, t: int, j: int) -> Edge:
        at = s, i, t, j
        own = cost[at].item() if right[at] else 0.0
        return Edge(s, i, t, j, ids[s][i], ids[t][j], strength[at].item(), bool(right[at]), own, odds[at].item())

    most = strength.argmax(3).tolist()
    lost = [
        (edge(s, i, t, j), edge(s, i, t, most[s][i][t]))
        for s, i, t, j in (right & counted).nonzero().tolist()
        if most[s][i][t] != j
    ]
    return [edge(*index) for index in shown.nonzero().tolist()], sorted(lost, key=lambda pair: -pair[0].cost)


def _residual(clip: TrackClip, links: Flow, graph: GroundTruthGraph) -> Tensor:
    sides = marginals(links)
    residual = -graph.balance[0].to(links.flow.dtype)
    residual[:-1] += sides.out[0]
    residual[1:] -= sides.into[0]
    return residual.where(clip.valid[0], 0)


def _price_of_pairs(clip: TrackClip, links: Flow, graph: GroundTruthGraph, settings: Settings) -> list[float]:
    """Return the weight of a correct edge's flow term in the loss, for every pair of frames."""
    values, counted = window_terms(clip, links, graph, settings)
    size = settings.window - 1
    price = values["quality"][0] * settings.factor("flow") * counted[0] / counted[0].sum().clamp(min=1)
    if settings.log_norm:
        price = price * values["log_edges"][0]
    if settings.reference == "gt":  # means, not sums
        price = price / right_flow(clip, links, graph, settings).count[0].clamp(min=1)
    pairs = [0.0] * (clip.valid.shape[1] - 1)
    for window, one in enumerate(price.tolist()):
        for pair in range(window, min(window + size, len(pairs))):
            pairs[pair] += one
    return pairs
