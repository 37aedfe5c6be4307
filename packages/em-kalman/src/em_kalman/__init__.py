"""Association of detections learned without labels, by a neural Kalman filter.

>>> from em_kalman import MotionModel
>>> MotionModel().kind
'constant_velocity'
"""

from em_kalman.chain import compose_chain
from em_kalman.checkpoint import load_model, save_model
from em_kalman.cost import EMKalmanCost
from em_kalman.distill import distill_clip_loss, distill_loss
from em_kalman.features import pairwise_box_features
from em_kalman.loss import EMKalmanLoss
from em_kalman.model import NeuralKalmanFilter, NKFOutput
from em_kalman.motion import MotionModel
from em_kalman.network import AssociationNetwork
from em_kalman.objectives import frame_loglik
from em_kalman.plugin import EMKalmanPlugin
from em_kalman.presence import learn_presence
from em_kalman.sampler import WindowSampler
from em_kalman.sequences import DetectionSequence, read_detections
from em_kalman.tracker import OnlineAssociator
from em_kalman.training import AssociationCollapse, Schedule, fit
from em_kalman.window import WindowBatch

__version__ = "0.1.0"
__all__ = [
    "AssociationCollapse",
    "AssociationNetwork",
    "DetectionSequence",
    "EMKalmanCost",
    "EMKalmanLoss",
    "EMKalmanPlugin",
    "MotionModel",
    "NKFOutput",
    "NeuralKalmanFilter",
    "OnlineAssociator",
    "Schedule",
    "WindowBatch",
    "WindowSampler",
    "__version__",
    "compose_chain",
    "distill_clip_loss",
    "distill_loss",
    "fit",
    "frame_loglik",
    "learn_presence",
    "load_model",
    "pairwise_box_features",
    "read_detections",
    "save_model",
]
