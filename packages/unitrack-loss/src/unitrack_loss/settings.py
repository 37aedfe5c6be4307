"""What can be chosen about the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WeightMode = Literal["laplacian", "fixed", "none"]


@dataclass(frozen=True)
class Settings:
    """What can be chosen; the defaults are what we recommend.

    Args:
        window: frames of a sliding window, at least 2. With 2 there is no temporal term.
        alpha: how strongly false and missed detections lower the trust in the flow.
        tau: temperature of the cosines of embeddings.
        null: affinity of "nobody"; None: what fits the kind of affinity.
        flow_form: "log": minus the logarithm of the flow on right edges; "linear": the flow itself, as in the paper,
            whose gradient vanishes where the flow is on wrong edges.
        reference: "gt": distances and accelerations are compared with those of the objects, and terms are means;
            "paper": they are taken as they are, and terms are sums, of any sign and not 0 for perfect tracking.
        weights: of the spatial and the temporal term: "laplacian" (of the paper), "fixed" (one half each) or "none"
            (one each).
        flow_weight: of the flow term.
        spatial_weight: of the spatial term, beside ``weights``.
        temporal_weight: of the temporal term, beside ``weights``.
        conservation_weight: of the conservation of flow.
        eps_lambda: keeps the weights finite.
        spatial_sigma: distance at which detections are near, in diagonals of the image.
        confidence_threshold: a detection above it counts as predicted.
        log_norm: multiply with ``log(1 + number of candidate edges)``.
        gate_confidence: let the confidence of detections limit the flow, so that logits get a gradient.
        max_gap: frames that an edge may span, less than ``window``. Above 1, the flow term also has edges over frames
            in which the object was not detected: an occlusion. Not with ``assoc_logits``.
        max_laplacian_nodes: detections of a frame, the most confident ones, in the spatial graph.

    >>> Settings(window=1)
    Traceback (most recent call last):
    ValueError: window must be at least 2 frames, got 1
    """

    window: int = 5
    alpha: float = 0.9
    tau: float = 0.1
    null: float | None = None
    flow_form: Literal["log", "linear"] = "log"
    reference: Literal["gt", "paper"] = "gt"
    weights: WeightMode = "laplacian"
    flow_weight: float = 1.0
    spatial_weight: float = 1.0
    temporal_weight: float = 1.0
    conservation_weight: float = 1.0
    eps_lambda: float = 0.05
    spatial_sigma: float = 0.1
    confidence_threshold: float = 0.5
    log_norm: bool = True
    gate_confidence: bool = True
    max_gap: int = 1
    max_laplacian_nodes: int = 64

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window must be at least 2 frames, got {self.window}")
        if not 1 <= self.max_gap < self.window:
            raise ValueError(f"max_gap must be from 1 to {self.window - 1}, less than window, got {self.max_gap}")
        if self.max_laplacian_nodes < 2:
            raise ValueError(f"max_laplacian_nodes must be at least 2, got {self.max_laplacian_nodes}")
        for name in ("tau", "eps_lambda", "spatial_sigma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        for name in ("alpha", "flow_weight", "spatial_weight", "temporal_weight", "conservation_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        for name, choices in (
            ("flow_form", ("log", "linear")),
            ("reference", ("gt", "paper")),
            ("weights", ("laplacian", "fixed", "none")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
