"""Published and small configurations of LA-MOTR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lamotr.functional.losses import LossSettings
from lamotr.modules.settings import SGLASettings
from lamotr.tracking import AssociationRules


@dataclass(frozen=True)
class LAMOTRSettings:
    """Settings of the association, its training and its use.

    Args:
        sgla: Sizes and variant of SGLA.
        loss: Weights of the decoupled loss.
        rules: Thresholds and rules of online tracking.
    """

    sgla: SGLASettings = field(default_factory=SGLASettings)
    loss: LossSettings = field(default_factory=LossSettings)
    rules: AssociationRules = field(default_factory=AssociationRules)


def paper(benchmark: Literal["DanceTrack", "SportsMOT", "MOT17"] = "DanceTrack") -> LAMOTRSettings:
    """Return the settings of the paper (LA-MOTR, ICCV 2025, Section 4), which differ between benchmarks.

    Raises:
        ValueError: If the paper has no settings for the benchmark.

    >>> paper("MOT17").rules.weight, paper("MOT17").rules.patience
    (0.5, 15)
    """
    weights = {"DanceTrack": 1.0, "SportsMOT": 0.9, "MOT17": 0.5}
    if benchmark not in weights:
        raise ValueError(f"benchmark: expected {', '.join(weights)}, got {benchmark!r}")
    patience = 15 if benchmark == "MOT17" else 30
    return LAMOTRSettings(rules=AssociationRules(weight=weights[benchmark], patience=patience))


def paper_literal() -> LAMOTRSettings:
    """Return the paper's formulas without additions: no normalization and no feed-forward in SGLA.

    >>> paper_literal().sgla.ffn_dim
    0
    """
    return LAMOTRSettings(SGLASettings(ffn_dim=0, norm=False))


def tiny() -> LAMOTRSettings:
    """Return settings that train in seconds on a CPU, for tests and small videos.

    >>> tiny().sgla.embed_dim
    64
    """
    return LAMOTRSettings(SGLASettings(embed_dim=64, num_heads=4, num_layers=2, ffn_dim=128))
