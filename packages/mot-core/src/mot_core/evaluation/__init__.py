"""HOTA, CLEAR and Identity metrics for result files, for arrays, and inside a validation step.

TrackEval computes the metrics (extra ``[eval]``); this package applies the official rules of each benchmark on what
counts. The metrics for validation steps need torch and torchmetrics and are therefore loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mot_core.evaluation.folder import evaluate, explain_switches
from mot_core.evaluation.report import ClassScores, Evaluation
from mot_core.evaluation.scores import Scores
from mot_core.evaluation.sequence import score_sequence
from mot_core.evaluation.switches import IdentitySwitch, find_switches, print_switches
from mot_core.evaluation.table import print_scores, scores_table

if TYPE_CHECKING:
    from mot_core.evaluation.metric import CLEAR, HOTA, Identity, TrackingMetrics

_METRICS = ("CLEAR", "HOTA", "Identity", "TrackingMetrics")
__all__ = [
    "CLEAR",
    "HOTA",
    "ClassScores",
    "Evaluation",
    "Identity",
    "IdentitySwitch",
    "Scores",
    "TrackingMetrics",
    "evaluate",
    "explain_switches",
    "find_switches",
    "print_scores",
    "print_switches",
    "score_sequence",
    "scores_table",
]


def __getattr__(name: str) -> Any:
    if name not in _METRICS:
        raise AttributeError(f"module 'mot_core.evaluation' has no attribute {name!r}")
    return getattr(import_module("mot_core.evaluation.metric"), name)
