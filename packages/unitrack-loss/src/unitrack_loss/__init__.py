"""The UniTrack loss, a differentiable graph loss on identities for any tracker that is trained on clips.

>>> from unitrack_loss import UniTrackLoss
>>> UniTrackLoss(tau=0.2)
UniTrackLoss(tau=0.2)
"""

from unitrack_loss.clip import TrackClip
from unitrack_loss.explanation import Edge, Explanation, explain
from unitrack_loss.flow import Flow, flow
from unitrack_loss.graph import GroundTruthGraph, edges_over, ground_truth_graph
from unitrack_loss.laplacian import laplacian_weights
from unitrack_loss.loss import UniTrackLoss, UniTrackOutput, unitrack_loss
from unitrack_loss.picture import plot
from unitrack_loss.plugin import UniTrackPlugin
from unitrack_loss.settings import Settings
from unitrack_loss.track_clip import track_clip

__version__ = "0.1.0"
__all__ = [
    "Edge",
    "Explanation",
    "Flow",
    "GroundTruthGraph",
    "Settings",
    "TrackClip",
    "UniTrackLoss",
    "UniTrackOutput",
    "UniTrackPlugin",
    "__version__",
    "edges_over",
    "explain",
    "flow",
    "ground_truth_graph",
    "laplacian_weights",
    "plot",
    "track_clip",
    "unitrack_loss",
]
