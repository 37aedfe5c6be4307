"""Settings of the UniTrack loss."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

PAPER_TERMS = ("flow", "spatial", "temporal", "conservation")
TERMS = (*PAPER_TERMS, "identity", "capacity")
WeightMode = Literal["laplacian", "fixed", "none"]


@dataclass(frozen=True)
class Settings:
    """Settings of the UniTrack loss.

    By default, the loss is the identity flow over all gaps.

    Args:
        preset: Terms of weight 1: "identity", the identity flow, or "paper", the terms of the paper. The other weights
            are 0. A weight that is given takes precedence.
        window: Number of frames of a sliding window of the paper's terms, at least 2. With 2 there is no temporal term.
        alpha: Penalty for false positives and missed detections in the quality factor. Higher values reduce the weight
            of the flow term in frames with bad detections.
        tau: Temperature of the cosine similarities of embeddings. Lower values give sharper associations.
        null: Affinity of the null slot for births and exits; None for the default of the kind of affinity.
        flow_form: "log" for minus the logarithm of the flow on correct edges; "linear" for the paper's form, whose
            gradient vanishes where the flow is on wrong edges.
        reference: "gt" compares distances and accelerations with those of the objects, and averages; "paper" uses raw
            displacements and accelerations, and sums, which is not 0 for perfect tracking and may be negative.
        weights: Weights of the spatial and the temporal term: "laplacian" (the paper's), "fixed" (one half each) or
            "none" (one each).
        flow_weight: Factor of the flow term. None: that of the preset, as for all weights.
        spatial_weight: Factor of the spatial term, in addition to ``weights``.
        temporal_weight: Factor of the temporal term, in addition to ``weights``.
        conservation_weight: Factor of the conservation term.
        eps_lambda: Offset that keeps the Laplacian weights finite.
        spatial_sigma: Distance, in image diagonals, at which detections count as near in the spatial graph.
        confidence_threshold: Score above which a detection counts as predicted in the quality factor.
        log_norm: Whether to multiply by ``log(1 + number of candidate edges)``.
        gate_confidence: Whether the confidences of both ends limit the flow, which gives the logits a gradient.
        max_gap: Maximum number of frames that an edge spans, less than ``window``. Above 1, the flow term also has
            edges across frames in which the object was not detected, such as occlusions. Requires 1 with
            ``assoc_logits``.
        max_laplacian_nodes: Maximum number of detections per frame in the spatial graph; the most confident are kept.
        identity_weight: Factor of the identity flow, the cross-entropy of every detection's identity in every other
            frame of the clip, which is added to the loss after ``log_norm``. Requires ``embed`` or ``assoc_logits``.
        capacity_weight: Factor of the capacity term, which ranks the detections of one object, added likewise. On MOTIP
            it slowed the identities down; try it on trackers with duplicate tracks.
        edges: Frames that the identity flow connects: "all" or "adjacent". With ``assoc_logits``, always adjacent ones.
        odds: "place" adds the log-odds of the distance between two detections to their affinity in the identity flow,
            so that embeddings learn only what the place does not explain; "none" for appearance alone.
        rivals: "batch" also separates a detection in the identity flow from the others of its own frame and from all
            detections of other videos of the batch; "own_frame" from the former only; "none" from those of the other
            frame alone. Without ``embed``, always "none".

    Raises:
        ValueError: If a setting is out of range.

    >>> Settings(window=1)
    Traceback (most recent call last):
    ValueError: window must be at least 2 frames, got 1
    """

    preset: Literal["identity", "paper"] = "identity"
    window: int = 5
    alpha: float = 0.9
    tau: float = 0.1
    null: float | None = None
    flow_form: Literal["log", "linear"] = "log"
    reference: Literal["gt", "paper"] = "gt"
    weights: WeightMode = "laplacian"
    flow_weight: float | None = None
    spatial_weight: float | None = None
    temporal_weight: float | None = None
    conservation_weight: float | None = None
    eps_lambda: float = 0.05
    spatial_sigma: float = 0.1
    confidence_threshold: float = 0.5
    log_norm: bool = True
    gate_confidence: bool = True
    max_gap: int = 1
    max_laplacian_nodes: int = 64
    identity_weight: float | None = None
    capacity_weight: float | None = None
    edges: Literal["all", "adjacent"] = "all"
    odds: Literal["place", "none"] = "none"
    rivals: Literal["batch", "own_frame", "none"] = "batch"

    def __post_init__(self) -> None:
        if self.preset not in ("identity", "paper"):  # before the weights, which depend on it
            raise ValueError(f"preset must be one of identity, paper, got {self.preset!r}")
        for term in TERMS:
            if getattr(self, f"{term}_weight") is None:
                chosen = term in PAPER_TERMS if self.preset == "paper" else term == "identity"
                object.__setattr__(self, f"{term}_weight", float(chosen))
        if self.window < 2:
            raise ValueError(f"window must be at least 2 frames, got {self.window}")
        if not 1 <= self.max_gap < self.window:
            raise ValueError(f"max_gap must be from 1 to {self.window - 1}, less than window, got {self.max_gap}")
        if self.max_laplacian_nodes < 2:
            raise ValueError(f"max_laplacian_nodes must be at least 2, got {self.max_laplacian_nodes}")
        for name in ("tau", "eps_lambda", "spatial_sigma"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be a finite number above 0, got {getattr(self, name)}")
        for name in ("alpha", *(f"{term}_weight" for term in TERMS)):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be a finite number of at least 0, got {getattr(self, name)}")
        if self.null is not None and not isfinite(self.null):
            raise ValueError(f"null must be a finite number or None, got {self.null}")
        for name, choices in (
            ("flow_form", ("log", "linear")),
            ("reference", ("gt", "paper")),
            ("weights", ("laplacian", "fixed", "none")),
            ("edges", ("all", "adjacent")),
            ("odds", ("place", "none")),
            ("rivals", ("batch", "own_frame", "none")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    def factor(self, term: str) -> float:
        """Return the weight of a term.

        >>> Settings().factor("flow"), Settings(preset="paper").factor("flow")
        (0.0, 1.0)
        """
        value: float = getattr(self, f"{term}_weight")
        return value

    @property
    def has_paper_terms(self) -> bool:
        """Whether any of the paper's terms has a weight.

        >>> Settings().has_paper_terms, Settings(flow_weight=1.0).has_paper_terms
        (False, True)
        """
        return any(self.factor(term) for term in PAPER_TERMS)
